//! What each operator of the crops costs.

use std::io::{self, Write};
use std::time::Duration;

use mugs_data::crop::Task;
use serde::Serialize;

/// One operator's cost.
#[derive(Debug, PartialEq, Serialize)]
pub struct Operator {
    operator: &'static str,
    calls_per_image: f64,
    microseconds_per_call: f64,
    milliseconds_per_image: f64,
    /// Of the time of all operators.
    share: f64,
}

type Totals = [(Task, u64, Duration)];

/// The costs between two readings, for `images` pictures; nothing if none were counted.
pub fn since(before: &Totals, after: &Totals, images: u64) -> Vec<Operator> {
    let spent = before.iter().zip(after).map(|(before, after)| (after.0, after.1 - before.1, after.2 - before.2));
    let spent: Vec<(Task, u64, Duration)> = spent.filter(|(_, calls, _)| *calls > 0).collect();
    let all: Duration = spent.iter().map(|(_, _, time)| *time).sum();
    let images = images.max(1) as f64;
    let operator = |&(task, calls, time): &(Task, u64, Duration)| Operator {
        operator: task.name(),
        calls_per_image: calls as f64 / images,
        microseconds_per_call: time.as_secs_f64() * 1e6 / calls as f64,
        milliseconds_per_image: time.as_secs_f64() * 1e3 / images,
        share: time.as_secs_f64() / all.as_secs_f64(),
    };
    spent.iter().map(operator).collect()
}

/// Prints them as a table, if there are any.
pub fn print(out: &mut impl Write, operators: &[Operator], simd: &str) -> io::Result<()> {
    if operators.is_empty() {
        return Ok(());
    }
    writeln!(out, "\noperator ({simd})    calls / image  us / call  ms / image   share")?;
    for row in operators {
        writeln!(
            out,
            "{:<20} {:>13.2} {:>10.1} {:>11.3} {:>5.1} %",
            row.operator,
            row.calls_per_image,
            row.microseconds_per_call,
            row.milliseconds_per_image,
            100.0 * row.share
        )?;
    }
    let all: f64 = operators.iter().map(|row| row.milliseconds_per_image).sum();
    writeln!(out, "{:<45} {:>11.3}", "all", all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_between_the_readings() {
        let millis = Duration::from_millis;
        let before = [(Task::Hue, 10, millis(10)), (Task::Blur, 5, millis(1)), (Task::Rotate, 2, millis(9))];
        let after = [(Task::Hue, 30, millis(40)), (Task::Blur, 15, millis(11)), (Task::Rotate, 2, millis(9))];
        let found = since(&before, &after, 5);
        let hue = Operator {
            operator: "hue",
            calls_per_image: 4.0,
            microseconds_per_call: 1500.0,
            milliseconds_per_image: 6.0,
            share: 0.75,
        };
        assert_eq!((found.len(), &found[0]), (2, &hue));
        assert!(since(&[], &[], 3).is_empty());
    }
}
