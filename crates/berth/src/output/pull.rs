//! The progress of a pull: a bar per layer on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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
    let bar = ProgressBar::new(layer.total);
    let style = ProgressStyle::with_template(
        "{prefix} {msg:11} [{bar:30}] {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12}",
    )
    .expect("the template is right")
    .progress_chars("=> ");
    bar.set_style(style);
    bar.set_prefix(short_id(&layer.digest).to_owned());
    bar
}

fn draw(bar: &ProgressBar, layer: &api::Layer) {
    bar.set_message(layer.state.clone());
    if matches!(layer.state.as_str(), "done" | "exists") {
        bar.set_position(layer.total);
        bar.abandon();
    } else {
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
            "exists" => "here already",
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
