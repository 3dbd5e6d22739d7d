//! The progress of a pull: a bar per layer on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{bytes, note, short_id};
use crate::api;

/// Shows how pulls go.
#[derive(Debug)]
pub(crate) enum Pulls {
    /// Bars.
    Bars { area: MultiProgress, bars: BTreeMap<(String, String), ProgressBar> },
    /// One line for each image and each finished layer.
    Lines { told: BTreeMap<(String, String), &'static str> },
    /// Nothing.
    Quiet,
}

impl Pulls {
    /// Bars or lines, as standard error is a terminal or not.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            Self::Bars { area: MultiProgress::new(), bars: BTreeMap::new() }
        } else {
            Self::Lines { told: BTreeMap::new() }
        }
    }

    /// Takes bars away that are still there.
    pub(crate) fn clear(&mut self) {
        if let Self::Bars { area, bars } = self {
            // A terminal that went away has no bars to clear.
            area.clear().ok();
            bars.clear();
        }
    }

    /// Shows a step.
    pub(crate) fn show(&mut self, event: &api::PullEvent) {
        match self {
            Self::Quiet => {}
            Self::Bars { area, bars } => {
                for layer in &event.layers {
                    let key = (event.image.clone(), layer.digest.clone());
                    let bar = bars.entry(key).or_insert_with(|| area.add(new_bar(layer)));
                    draw(bar, layer);
                }
                if !event.image_id.is_empty() {
                    // A terminal that went away has no bars to clear.
                    area.clear().ok();
                    bars.clear();
                    note(format_args!("{}: pulled {}", event.image, short_id(&event.image_id)));
                }
            }
            Self::Lines { told } => lines(told, event),
        }
    }
}

fn new_bar(layer: &api::Layer) -> ProgressBar {
    // Hidden until it is in its area: drawn alone it would leave a line behind.
    let bar = ProgressBar::with_draw_target(Some(layer.total), ProgressDrawTarget::hidden());
    bar.set_style(style(moving(columns())).progress_chars("=> "));
    bar.set_prefix(short_id(&layer.digest).to_owned());
    bar
}

fn columns() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col)
}

/// A line never wraps, since what wraps cannot be drawn over.
fn moving(columns: u16) -> &'static str {
    match columns {
        0..=31 => "{prefix}",
        32..=69 => "{prefix} {msg:11}",
        70.. => "{prefix} {msg:11} {wide_bar} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12}",
    }
}

/// Of what is done neither bar nor rate mean anything.
fn still(columns: u16) -> &'static str {
    match columns {
        0..=31 => "{prefix}",
        32.. => "{prefix} {msg:11} {total_bytes}",
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are right")
}

fn draw(bar: &ProgressBar, layer: &api::Layer) {
    bar.set_message(layer.state.clone());
    if bar.is_finished() {
        return;
    }
    if matches!(layer.state.as_str(), "done" | "exists") {
        bar.set_style(style(still(columns())));
        bar.set_length(layer.total);
        bar.set_position(layer.total);
        bar.abandon();
    } else {
        bar.set_length(layer.total);
        // The rate is that of the transfer: a layer may have waited for others.
        if layer.done > 0 && bar.position() == 0 {
            bar.reset_elapsed();
            bar.reset_eta();
        }
        bar.set_position(layer.done);
    }
}

fn lines(told: &mut BTreeMap<(String, String), &'static str>, event: &api::PullEvent) {
    let begun = (event.image.clone(), String::new());
    if told.insert(begun, "begun").is_none() {
        let doing = if event.note.is_empty() { "pulling" } else { &event.note };
        note(format_args!("{}: {doing}", event.image));
    }
    for layer in &event.layers {
        let word = match layer.state.as_str() {
            "done" => "done",
            "exists" => "already exists",
            _ => continue,
        };
        if told.insert((event.image.clone(), layer.digest.clone()), word).is_none() {
            note(format_args!(
                "{}: layer {} {word}, {}",
                event.image,
                short_id(&layer.digest),
                bytes(layer.total)
            ));
        }
    }
    if !event.image_id.is_empty() {
        note(format_args!("{}: pulled {}", event.image, short_id(&event.image_id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for columns in [0, 31, 32, 69, 70, u16::MAX] {
            style(moving(columns));
            style(still(columns));
        }
    }
}
