//! What libtorch says when it gives up, as one line.

use std::any::Any;

use tch::TchError;

/// What begins the part of libtorch's messages that tells a user nothing: where it was raised, and through what.
const TRACE: [&str; 2] = ["Exception raised from", "frame #0"];

/// The message of an error, without the trace and the line breaks.
pub(crate) fn message(error: &TchError) -> String {
    one_line(&error.to_string())
}

/// The message of a panic: the binding's calls that cannot fail in a program without faults panic where libtorch is out
/// of memory, or a device is gone.
pub(crate) fn message_of_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    // A message inside another's debug format has its line breaks written out.
    one_line(&text.unwrap_or("a panic without a message").replace("\\n", "\n"))
}

fn one_line(text: &str) -> String {
    let end = TRACE.iter().filter_map(|trace| text.find(trace)).min().unwrap_or(text.len());
    text[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_without_a_trace() {
        let error = TchError::Torch("no way\n out\nException raised from f at g.cpp:3\nframe #0: x".into());
        assert_eq!(message(&error), "Internal torch error: no way out");
        // As the binding's calls panic.
        let panic = std::panic::catch_unwind(|| {
            let error = TchError::Torch("out of memory\nframe #0: x".into());
            panic!("called `Result::unwrap()` on an `Err` value: {error:?}");
        });
        let text = message_of_panic(&*panic.unwrap_err());
        assert!(text.contains("out of memory") && !text.contains("frame"), "{text}");
    }
}
