//! Exhaustive tests of what runs at once: every order in which a small number of tasks can go on, over the real code.
//!
//! The tests own the only thread. Whatever could happen next is a choice; a run is a sequence of choices, and
//! [`every_schedule`] goes through all of them, by running again from the start with the next sequence. A task is
//! polled only after it was woken, so that a lost wake-up shows as a run in which nothing can go on.

mod budget;
mod create;
mod gates;

/// The choices of one run: those that lead to where the last run branched, then always the first.
#[derive(Debug, Default)]
pub struct Choices {
    taken: Vec<Choice>,
    at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Choice {
    option: usize,
    of: usize,
}

impl Choices {
    /// One of `of` options, counted from 0.
    pub fn choose(&mut self, of: usize) -> usize {
        assert!(of > 0, "nothing to choose from");
        if self.at == self.taken.len() {
            self.taken.push(Choice { option: 0, of });
        }
        let choice = self.taken[self.at];
        assert_eq!(choice.of, of, "the same choices lead to the same place");
        self.at += 1;
        choice.option
    }

    /// Goes to the next run; `false` where there is none.
    fn next(&mut self) -> bool {
        self.at = 0;
        while let Some(last) = self.taken.last_mut() {
            last.option += 1;
            if last.option < last.of {
                return true;
            }
            self.taken.pop();
        }
        false
    }
}

/// Runs `run` with every sequence of choices, and tells how many there were.
pub fn every_schedule(mut run: impl FnMut(&mut Choices)) -> u64 {
    let mut choices = Choices::default();
    let mut runs = 0;
    loop {
        run(&mut choices);
        runs += 1;
        if !choices.next() {
            return runs;
        }
    }
}

#[test]
fn every_sequence_of_choices_is_walked_through_once() {
    let mut seen = Vec::new();
    let runs = every_schedule(|choices| {
        let first = choices.choose(2);
        // The second choice exists on one side only.
        let second = if first == 0 { choices.choose(3) } else { 9 };
        seen.push((first, second));
    });
    assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 9)]);
    assert_eq!(runs, 4);
}
