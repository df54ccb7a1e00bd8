//! The functions of `cpp/`. Each gives null or a text that the caller frees.

use std::ffi::{CStr, c_char, c_int, c_void};

use torch_sys::C_tensor;

/// Gives a tensor to Rust; null, or what went wrong, made by `strdup`.
pub(crate) type Callback = unsafe extern "C" fn(context: *mut c_void, tensor: *mut C_tensor) -> *mut c_char;
/// Drops what a callback was given.
pub(crate) type Release = unsafe extern "C" fn(context: *mut c_void);

unsafe extern "C" {
    pub(crate) fn mugs_quiet_log();
    pub(crate) fn mugs_store_new(
        host: *const c_char,
        port: u16,
        serves: bool,
        timeout_ms: u64,
        store: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn mugs_store_free(store: *mut c_void);
    pub(crate) fn mugs_store_port(store: *mut c_void) -> u16;
    pub(crate) fn mugs_store_set(store: *mut c_void, key: *const c_char, data: *const u8, length: usize)
    -> *mut c_char;
    pub(crate) fn mugs_store_get(
        store: *mut c_void,
        key: *const c_char,
        timeout_ms: u64,
        data: *mut *mut u8,
        length: *mut usize,
    ) -> *mut c_char;
    pub(crate) fn mugs_store_add(store: *mut c_void, key: *const c_char, value: i64, sum: *mut i64) -> *mut c_char;
    pub(crate) fn mugs_store_check(store: *mut c_void, key: *const c_char, present: *mut bool) -> *mut c_char;

    pub(crate) fn mugs_gloo_new(
        store: *mut c_void,
        prefix: *const c_char,
        rank: c_int,
        size: c_int,
        timeout_ms: u64,
        address: *const c_char,
        is_interface: bool,
        group: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn mugs_gloo_free(group: *mut c_void);
    pub(crate) fn mugs_gloo_abort(group: *mut c_void);
    pub(crate) fn mugs_gloo_all_reduce(
        group: *mut c_void,
        tensor: *mut C_tensor,
        pending: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn mugs_gloo_all_gather(
        group: *mut c_void,
        input: *mut C_tensor,
        outputs: *mut C_tensor,
        pending: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn mugs_gloo_broadcast(
        group: *mut c_void,
        tensor: *mut C_tensor,
        root: c_int,
        pending: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn mugs_pending_wait(pending: *mut c_void, error: *mut *mut c_char) -> c_int;
    pub(crate) fn mugs_pending_free(pending: *mut c_void);

    pub(crate) fn mugs_hook_gradient(
        parameter: *mut C_tensor,
        callback: Callback,
        release: Release,
        context: *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn mugs_set_gradient(parameter: *mut C_tensor, gradient: *mut C_tensor) -> *mut c_char;
    pub(crate) fn mugs_gradients_by(
        output: *mut C_tensor,
        gradient: *mut C_tensor,
        inputs: *const *mut C_tensor,
        count: usize,
        results: *const *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn mugs_unhook_gradient(parameter: *mut C_tensor) -> *mut c_char;
    pub(crate) fn mugs_through(
        input: *mut C_tensor,
        callback: Callback,
        release: Release,
        context: *mut c_void,
        output: *mut C_tensor,
    ) -> *mut c_char;

    pub(crate) fn free(memory: *mut c_void);
    pub(crate) fn strdup(text: *const c_char) -> *mut c_char;
}

/// Takes over an error text: none for null.
pub(crate) fn error(text: *mut c_char) -> Result<(), String> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: the C++ side gives null or a text with its end, made by malloc, that is ours now.
    let message = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above; it is not used any more.
    unsafe { free(text.cast()) };
    Err(one_line(&message))
}

/// Messages of libtorch may have several lines; log lines and errors have one.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text for C. One with a 0 in it ends there.
pub(crate) fn c_text(text: &str) -> std::ffi::CString {
    let end = text.find('\0').unwrap_or(text.len());
    std::ffi::CString::new(&text[..end]).unwrap_or_default()
}
