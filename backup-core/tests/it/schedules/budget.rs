//! The memory budget: never exceeded, nobody forgotten, first come first served, whatever is dropped meanwhile.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use backup_core::MemoryBudget;

use super::{Choices, every_schedule};

const PAGE: u64 = 4096;

/// What a task does: acquires, gives a part back, drops the rest; each a step of its own.
#[derive(Clone, Copy)]
struct Plan {
    acquire: u64,
    shrink_to: u64,
    /// Whether it may be dropped at any moment, as a cancelled job's future is.
    droppable: bool,
}

const fn plan(acquire: u64, shrink_to: u64) -> Plan {
    Plan {
        acquire,
        shrink_to,
        droppable: false,
    }
}

const fn droppable(acquire: u64, shrink_to: u64) -> Plan {
    Plan {
        droppable: true,
        ..plan(acquire, shrink_to)
    }
}

#[derive(Default)]
struct Books {
    held: Vec<u64>,
    asked: Vec<usize>,
    granted: Vec<usize>,
    dropped: Vec<usize>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
}

/// Lets others go on.
async fn step() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn work(budget: MemoryBudget, books: Rc<RefCell<Books>>, me: usize, plan: Plan) {
    // A task that is dropped holds nothing.
    struct Holding(Rc<RefCell<Books>>, usize);
    impl Drop for Holding {
        fn drop(&mut self) {
            self.0.borrow_mut().held[self.1] = 0;
        }
    }
    books.borrow_mut().asked.push(me);
    let mut permit = budget.acquire(plan.acquire * PAGE).await.unwrap();
    let _holding = Holding(Rc::clone(&books), me);
    {
        let mut books = books.borrow_mut();
        books.granted.push(me);
        books.held[me] = permit.bytes();
    }
    step().await;
    permit.shrink_to(plan.shrink_to * PAGE);
    books.borrow_mut().held[me] = permit.bytes();
    assert_eq!(permit.bytes(), plan.shrink_to * PAGE);
    step().await;
}

/// One run: until all tasks are done or dropped.
fn run(total: u64, plans: &[Plan], choices: &mut Choices) {
    let budget = MemoryBudget::new(total * PAGE);
    let books = Rc::new(RefCell::new(Books {
        held: vec![0; plans.len()],
        ..Books::default()
    }));
    let mut tasks: Vec<Task> = plans
        .iter()
        .enumerate()
        .map(|(i, plan)| Task {
            future: Some(Box::pin(work(budget.clone(), Rc::clone(&books), i, *plan))),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        })
        .collect();
    loop {
        let alive = |t: &Task| t.future.is_some();
        if !tasks.iter().any(alive) {
            break;
        }
        let ready: Vec<usize> = (0..tasks.len())
            .filter(|&i| alive(&tasks[i]) && tasks[i].woken.0.load(Ordering::SeqCst))
            .collect();
        let to_drop: Vec<usize> = (0..tasks.len())
            .filter(|&i| alive(&tasks[i]) && plans[i].droppable)
            .collect();
        assert!(!ready.is_empty(), "nobody can go on, and some are waiting");
        let choice = choices.choose(ready.len() + to_drop.len());
        if let Some(&i) = ready.get(choice) {
            tasks[i].woken.0.store(false, Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&tasks[i].woken));
            let future = tasks[i].future.as_mut().unwrap();
            if future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                tasks[i].future = None;
            }
        } else {
            let i = to_drop[choice - ready.len()];
            tasks[i].future = None;
            books.borrow_mut().dropped.push(i);
        }
        let woken: Vec<bool> = tasks
            .iter()
            .map(|t| t.woken.0.load(Ordering::SeqCst))
            .collect();
        check(&budget, &books.borrow(), plans, &woken);
    }
    assert_eq!(budget.free(), budget.total(), "all of it came back");
    let books = books.borrow();
    for (i, plan) in plans.iter().enumerate() {
        assert!(
            books.granted.contains(&i) || (plan.droppable && books.dropped.contains(&i)),
            "task {i} never got its memory"
        );
    }
}

fn check(budget: &MemoryBudget, books: &Books, plans: &[Plan], woken: &[bool]) {
    let held: u64 = books.held.iter().sum();
    assert!(
        held + budget.free() <= budget.total(),
        "more is out than there is"
    );
    // In turn: who was granted memory finds all that asked before it served too, or told that their turn has come.
    for i in &books.granted {
        for j in books.asked.iter().take_while(|j| *j != i) {
            assert!(
                books.granted.contains(j) || books.dropped.contains(j) || woken[*j],
                "{i} was served before {j}: asked {:?}, granted {:?}",
                books.asked,
                books.granted
            );
        }
    }
    // Nobody slips past those who wait, however little they want.
    let first = books
        .asked
        .iter()
        .find(|i| !books.granted.contains(i) && !books.dropped.contains(i) && !woken[**i]);
    if first.is_some_and(|&i| held + plans[i].acquire * PAGE > budget.total()) {
        assert!(budget.try_acquire(1).unwrap().is_none(), "one slipped past");
    }
}

#[test]
fn memory_is_given_in_turn_and_comes_back_in_every_order_of_three_jobs() {
    let mut runs = 0;
    for plans in [
        [plan(3, 1), plan(2, 1), plan(4, 2)],
        [plan(4, 4), plan(1, 0), plan(1, 1)],
        [plan(2, 1), plan(2, 2), plan(2, 0)],
    ] {
        runs += every_schedule(|choices| run(4, &plans, choices));
    }
    eprintln!("{runs} schedules");
    assert!(runs > 1000, "{runs}");
}

#[test]
fn a_job_dropped_at_any_moment_holds_up_nobody_in_every_order() {
    let mut runs = 0;
    for plans in [
        [droppable(4, 2), plan(3, 1), plan(2, 1)],
        [plan(3, 2), droppable(2, 1), droppable(3, 3)],
    ] {
        runs += every_schedule(|choices| run(4, &plans, choices));
    }
    eprintln!("{runs} schedules");
    assert!(runs > 1000, "{runs}");
}
