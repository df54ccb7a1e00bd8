//! Turns a stage's panic into an error: the message goes into it, the place into the log, nothing onto stderr.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `work`; a panic in it is `Err` with the panic's message.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(quieten);
    CATCHES.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(false);
    result.map_err(|payload| message(payload.as_ref()).to_owned())
}

/// Keeps the panic hook of the process for all threads but those that catch.
fn quieten() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if CATCHES.get() {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "a stage panicked: {}", message(info.payload()));
        } else {
            hook(info);
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_kept() {
        assert_eq!(catch(|| 1), Ok(1));
        assert_eq!(catch(|| panic!("plain")), Err::<(), _>("plain".into()));
        assert_eq!(catch(|| panic!("number {}", 7)), Err::<(), _>("number 7".into()));
        assert_eq!(catch(|| panic::panic_any(7)), Err::<(), _>("no message".into()));
    }
}
