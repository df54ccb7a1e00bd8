//! A report for people.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{DecimalBytes, HumanCount};

use super::Report;
use super::chart::Panel;
use super::contents::{Contents, Section};
use super::log::TOTAL;
use super::place::{Options, Progress};
use super::plot;

/// The whole report for a terminal of `width` columns. Writing to a String cannot fail.
pub fn text(report: &Report, width: usize) -> String {
    let mut text = String::new();
    progress(&mut text, report);
    if let Some(options) = &report.options {
        chosen(&mut text, options, width);
    }
    losses(&mut text, report, width);
    if let Some(contents) = &report.checkpoint {
        checkpoint(&mut text, contents);
    }
    text
}

fn progress(text: &mut String, report: &Report) {
    let _ = writeln!(text, "{}", report.path);
    let Some(contents) = &report.checkpoint else {
        let _ = writeln!(text, "  no checkpoint yet");
        return;
    };
    if let Some(progress) = &report.progress {
        let _ = writeln!(text, "  {}", place(progress));
    }
    let _ = writeln!(text, "  written {}", when(contents.written, SystemTime::now()));
}

/// Where a run is, in words.
fn place(progress: &Progress) -> String {
    let of = |total: Option<u64>| total.map_or(String::new(), |total| format!(" of {}", HumanCount(total)));
    let mut words = match progress.step {
        0 => format!("{}{} epochs done", progress.epochs_done, of(progress.epochs)),
        step => {
            let epoch = progress.epochs_done + 1;
            format!("epoch {epoch}{}, step {step}{}", of(progress.epochs), of(progress.steps_per_epoch))
        }
    };
    if let Some(done) = progress.steps_done {
        let all = progress.steps_per_epoch.zip(progress.epochs).map(|(steps, epochs)| steps * epochs);
        let share = all.map_or(String::new(), |all| format!(" ({:.1} %)", 100.0 * done as f64 / all.max(1) as f64));
        let _ = write!(words, "; {}{} steps{share}", HumanCount(done), of(all));
    }
    if let Some(steps) = progress.steps_per_epoch {
        let _ = write!(words, ", {} an epoch", HumanCount(steps));
    }
    words + if progress.finished { "; finished" } else { "; not finished" }
}

fn chosen(text: &mut String, options: &Options, width: usize) {
    let (chosen, rest) = options.chosen();
    let _ = writeln!(text, "\noptions that are not the defaults, from {} ({rest} others are)", options.from);
    let mut line = String::new();
    for (name, value) in chosen {
        let option = format!("  {name} = {value}");
        if !line.is_empty() && line.chars().count() + option.chars().count() > width {
            let _ = writeln!(text, "{line}");
            line.clear();
        }
        line.push_str(&option);
    }
    let _ = writeln!(text, "{line}");
}

fn losses(text: &mut String, report: &Report, width: usize) {
    let logs = report.logs();
    let _ = writeln!(text, "\nlosses by epoch, in nats");
    for (number, log) in logs.iter().enumerate() {
        let mark = plot::mark(number);
        let ends = match log.curve(TOTAL).as_slice() {
            [] => "no epoch is finished yet".to_owned(),
            [.., last] => format!("epochs to {}, total loss {:.4} at the end", last.0, last.1),
        };
        let starts = if log.starts > 1 { format!(", {} starts", log.starts) } else { String::new() };
        let damaged = match log.unreadable {
            0 => String::new(),
            lines => format!(", {lines} lines cannot be read"),
        };
        let _ = writeln!(text, "  {mark} {}: {ends}{starts}{damaged}", log.path);
    }
    if logs.is_empty() {
        let _ = writeln!(text, "  there is no log.txt");
    }
    text.push_str(&plot::draw(&Panel::of(&logs, false), width));
}

fn checkpoint(text: &mut String, contents: &Contents) {
    let _ = writeln!(text, "\n{}, {}", contents.path, DecimalBytes(contents.bytes));
    let mut rows = vec![["section", "tensors", "values", "bytes", "types", "keys"].map(str::to_owned)];
    rows.extend(contents.sections.iter().map(row));
    let sum = |of: fn(&Section) -> u64| contents.sections.iter().map(of).sum::<u64>();
    rows.push([
        "total".into(),
        HumanCount(sum(|s| s.tensors as u64)).to_string(),
        HumanCount(sum(|s| s.values)).to_string(),
        DecimalBytes(sum(|s| s.bytes)).to_string(),
        String::new(),
        String::new(),
    ]);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d, e] = [width(0), width(1), width(2), width(3), width(4)];
    for [name, tensors, values, bytes, types, keys] in &rows {
        let line = format!("  {name:<a$}  {tensors:>b$}  {values:>c$}  {bytes:>d$}  {types:<e$}  {keys}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if !contents.objects.is_empty() {
        let _ = writeln!(text, "  objects, described and not made: {}", contents.objects.join(", "));
    }
    for section in &contents.sections {
        tensors(text, section);
    }
}

fn row(section: &Section) -> [String; 6] {
    [
        section.name.into(),
        HumanCount(section.tensors as u64).to_string(),
        HumanCount(section.values).to_string(),
        DecimalBytes(section.bytes).to_string(),
        section.dtypes.join(" "),
        section.keys.join(" "),
    ]
}

fn tensors(text: &mut String, section: &Section) {
    let Some(list) = &section.list else { return };
    let _ = writeln!(text, "\n{}", section.name);
    let width = list.iter().map(|tensor| tensor.name.chars().count()).max().unwrap_or(0);
    for tensor in list {
        let shape: Vec<String> = tensor.shape.iter().map(i64::to_string).collect();
        let shape = format!("[{}]", shape.join(", "));
        let bytes = DecimalBytes(tensor.bytes);
        let _ = writeln!(text, "  {:<width$}  {shape:<18}  {:<8}  {bytes}", tensor.name, tensor.dtype);
    }
}

/// A time in Unix seconds: `2026-11-26 03:09:22 UTC, 3 minutes ago`.
fn when(seconds: u64, now: SystemTime) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let ago = now.duration_since(time).map_or(String::new(), |age| format!(", {} ago", indicatif::HumanDuration(age)));
    let (year, month, day) = date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC{ago}")
}

/// Year, month and day of a number of days since 1970. Years begin in March here, so that a leap day ends one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let seconds = [0, 951_782_399, 951_782_400, 1_077_926_400, 1_798_761_599];
        let shown: Vec<String> = seconds.map(|time| when(time, UNIX_EPOCH)).into();
        assert_eq!(shown[0], "1970-01-01 00:00:00 UTC, 0 seconds ago");
        assert_eq!(
            shown[1..],
            [
                "2000-02-28 23:59:59 UTC",
                "2000-02-29 00:00:00 UTC",
                "2004-02-28 00:00:00 UTC",
                "2026-12-31 23:59:59 UTC"
            ]
        );
        let later = UNIX_EPOCH + Duration::from_secs(180);
        assert_eq!(when(0, later), "1970-01-01 00:00:00 UTC, 3 minutes ago");
    }

    #[test]
    fn a_place_is_said_in_words() {
        let mut progress = Progress {
            epochs_done: 3,
            epochs: Some(100),
            step: 12,
            steps_per_epoch: Some(390),
            steps_done: Some(1182),
            finished: false,
        };
        let expected = "epoch 4 of 100, step 12 of 390; 1,182 of 39,000 steps (3.0 %), 390 an epoch; not finished";
        assert_eq!(place(&progress), expected);
        progress = Progress { epochs_done: 2, epochs: Some(2), finished: true, ..Progress::default() };
        assert_eq!(place(&progress), "2 of 2 epochs done; finished");
    }
}
