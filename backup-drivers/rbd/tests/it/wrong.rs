//! Mistakes that are made on purpose: `scripts/valgrind-rbd` runs these first, and expects each to be reported. Otherwise
//! nothing would tell a layer without mistakes from a check that finds none.

#![allow(unsafe_code, reason = "mistakes need it")]

use std::ffi::c_void;
use std::ptr;

use librbd_sys as sys;

/// A completion and its argument, which librbd would hand back.
fn completion(argument: *mut c_void) -> sys::rbd_completion_t {
    let mut completion: sys::rbd_completion_t = ptr::null_mut();
    // SAFETY: nothing is started, so nobody calls back; `completion` is a place for the handle.
    let made = unsafe { sys::rbd_aio_create_completion(argument, None, &raw mut completion) };
    assert_eq!(made, 0);
    completion
}

#[test]
#[ignore = "reads freed memory on purpose: run by scripts/valgrind-rbd"]
fn a_completion_is_read_after_its_release() {
    let completion = completion(ptr::null_mut());
    // SAFETY: the handle is live and released once.
    unsafe { sys::rbd_aio_release(completion) };
    // SAFETY: none, this is the mistake: the memory is freed.
    let value = unsafe { sys::rbd_aio_get_return_value(completion) };
    println!("read after its release: {value}");
}

#[test]
#[ignore = "loses memory on purpose: run by scripts/valgrind-rbd"]
fn the_buffer_of_a_completion_is_lost() {
    let buffer = Box::into_raw(Box::new([0_u8; 4096]));
    let completion = completion(buffer.cast());
    // SAFETY: the handle is live and released once. The mistake: nobody has the buffer any more.
    unsafe { sys::rbd_aio_release(completion) };
}
