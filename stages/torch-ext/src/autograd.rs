//! Rust in the backward pass.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::native::{self, c_text};

/// What is called with a tensor, from whichever thread runs the pass.
type Call = Box<dyn Fn(&Tensor) -> Result<(), String> + Send + Sync>;

/// Calls `done` with the gradient of the leaf `parameter` whenever a backward pass has added to it, until the result is
/// dropped. An error ends the pass. A second hook takes the place of the first.
///
/// # Errors
/// `parameter` is no leaf that records gradients.
pub fn hook_gradient(
    parameter: &Tensor,
    done: impl Fn(&Tensor) -> Result<(), String> + Send + Sync + 'static,
) -> Result<Unhook, String> {
    let mut own = parameter.shallow_clone();
    // SAFETY: the tensor is whole; the C++ side releases the context once.
    native::error(unsafe { native::mugs_hook_gradient(own.as_mut_ptr(), call, release, context(Box::new(done))) })?;
    Ok(Unhook { parameter: own })
}

/// Makes `gradient` that of the leaf `parameter`: backward passes add to its very memory from now on.
///
/// # Errors
/// Shape, kind or device differ.
pub fn set_gradient(parameter: &Tensor, gradient: &Tensor) -> Result<(), String> {
    let form = |tensor: &Tensor| (tensor.size(), tensor.kind(), tensor.device());
    if form(parameter) != form(gradient) {
        return Err(format!("a gradient of shape {:?} is none of {:?}", gradient.size(), parameter.size()));
    }
    let (mut own, mut other) = (parameter.shallow_clone(), gradient.shallow_clone());
    // SAFETY: both tensors are whole.
    native::error(unsafe { native::mugs_set_gradient(own.as_mut_ptr(), other.as_mut_ptr()) })
}

/// The gradients by `inputs` of a loss whose gradient by `output` is `gradient`. Uses up the graph between them, adds to no
/// leaf's gradient and calls no hook.
///
/// # Errors
/// An input takes no part in the output, shape or device of the gradient differ, or memory is short.
pub fn gradients_by<const N: usize>(
    inputs: [&Tensor; N],
    output: &Tensor,
    gradient: &Tensor,
) -> Result<[Tensor; N], String> {
    let (mut output, mut gradient) = (output.shallow_clone(), gradient.shallow_clone());
    let mut own = inputs.map(Tensor::shallow_clone);
    let mut found = [(); N].map(|()| Tensor::new());
    let (from, to) = (own.each_mut().map(Tensor::as_mut_ptr), found.each_mut().map(Tensor::as_mut_ptr));
    // SAFETY: all tensors are whole and outlive the call; both lists hold N of them.
    native::error(unsafe {
        native::mugs_gradients_by(output.as_mut_ptr(), gradient.as_mut_ptr(), from.as_ptr(), N, to.as_ptr())
    })?;
    Ok(found)
}

/// Removes a hook when it is dropped.
#[derive(Debug)]
pub struct Unhook {
    parameter: Tensor,
}

impl Drop for Unhook {
    fn drop(&mut self) {
        // SAFETY: the tensor is whole.
        let _ = native::error(unsafe { native::mugs_unhook_gradient(self.parameter.as_mut_ptr()) });
    }
}

/// What `change`, working in place, makes of a copy of `input`; in the backward pass the gradient goes through it too. So
/// the sum over ranks has the gradient that the sum of all ranks' losses has.
///
/// # Errors
/// That of `change`.
pub fn through(
    input: &Tensor,
    change: impl Fn(&Tensor) -> Result<(), String> + Send + Sync + 'static,
) -> Result<Tensor, String> {
    let (mut own, mut output) = (input.shallow_clone(), Tensor::new());
    // SAFETY: both tensors are whole; the C++ side releases the context once.
    native::error(unsafe {
        native::mugs_through(own.as_mut_ptr(), call, release, context(Box::new(change)), output.as_mut_ptr())
    })?;
    Ok(output)
}

fn context(call: Call) -> *mut c_void {
    Box::into_raw(Box::new(call)).cast()
}

unsafe extern "C" fn call(context: *mut c_void, tensor: *mut C_tensor) -> *mut c_char {
    // SAFETY: made by `context`, not released yet, and shared only.
    let done = unsafe { &*context.cast::<Call>() };
    // SAFETY: the C++ side lends a whole tensor; the clone is ours.
    let tensor = unsafe { Tensor::clone_from_ptr(tensor) };
    let result = catch_unwind(AssertUnwindSafe(|| done(&tensor)));
    let message = match result {
        Ok(Ok(())) => return std::ptr::null_mut(),
        Ok(Err(message)) => message,
        Err(_) => "a call from the backward pass panicked".to_owned(),
    };
    // SAFETY: the text has its end; the copy is freed by the C++ side.
    unsafe { native::strdup(c_text(&message).as_ptr()) }
}

unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: made by `context`, and released once.
    drop(unsafe { Box::from_raw(context.cast::<Call>()) });
}
