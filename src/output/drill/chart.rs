//! Where things stand in a drawing: milliseconds in, coordinates out. The template draws them.

use std::time::Duration;

use serde::Serialize;

use crate::drill::millis;
use crate::drill::outage::{ClientOutage, Gap, LeaderSpan};
use crate::drill::report::Run;

/// Width of the drawing's time axis, in its own units.
const WIDTH: f64 = 820.0;
/// Room for names at its left.
const LEFT: f64 = 170.0;
/// From one line to the next.
const LINE: f64 = 22.0;
/// Room for the numbers of the events above the first line.
const TOP: f64 = 26.0;
/// Marks on an axis: about so many.
const TICKS: u64 = 10;
/// Bars of a histogram.
const BARS: u64 = 16;
/// Height of the highest of them.
const HEIGHT: f64 = 90.0;

/// A bar, with the text that shows when it is pointed at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) width: f64,
    /// What it stands for; a class of the page's style.
    pub(super) class: &'static str,
    pub(super) title: String,
    /// Written into it where it has room.
    pub(super) label: String,
}

/// A line of the drawing: its name and bars.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) y: f64,
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
}

/// A mark at an instant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) text: String,
    pub(super) title: String,
}

/// A run over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Timeline {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// The whole drawing.
    pub(super) full_width: f64,
    pub(super) full_height: f64,
    pub(super) injected: f64,
    pub(super) lines: Vec<Line>,
    pub(super) events: Vec<Mark>,
    pub(super) ticks: Vec<Mark>,
}

/// Draws a run: who led each group, and each client with its gaps.
pub(super) fn timeline(run: &Run) -> Timeline {
    let took = millis::of(run.took).max(1);
    let scale = Scale { took: took as f64 };
    let mut lines = Vec::new();
    let mut y = TOP;
    let mut add = |name: String, bars: Vec<Bar>| {
        lines.push(Line { y, name, bars });
        y += LINE;
    };
    for spans in run.leaders.chunk_by(|a, b| a.group == b.group) {
        let name = spans.first().map(|span| format!("{} leader", span.group)).unwrap_or_default();
        add(name, spans.iter().enumerate().map(|(index, span)| scale.leader(index, span)).collect());
    }
    for client in &run.outages.clients {
        let gaps = client.gaps.iter().map(|gap| scale.gap(gap, client));
        let served = scale.bar(Duration::ZERO, run.took, "served", "writes acknowledged".into());
        add(format!("client {}, {}", client.client, client.group), std::iter::once(served).chain(gaps).collect());
    }
    let height = y - TOP;
    let events = run.events.iter().enumerate().map(|(index, event)| Mark {
        x: scale.x(Duration::from_millis(event.at_ms)),
        text: (index + 1).to_string(),
        title: format!("{}: {}", event.source, event.text),
    });
    let ticks = ticks(took).into_iter().map(|at| Mark {
        x: scale.x(Duration::from_millis(at)),
        text: seconds(at),
        title: String::new(),
    });
    Timeline {
        left: LEFT,
        top: TOP,
        width: WIDTH,
        height,
        full_width: LEFT + WIDTH + 20.0,
        full_height: TOP + height + 24.0,
        injected: scale.x(run.injected),
        lines,
        events: events.collect(),
        ticks: ticks.collect(),
    }
}

struct Scale {
    took: f64,
}

impl Scale {
    fn x(&self, at: Duration) -> f64 {
        round(LEFT + WIDTH * (millis::of(at) as f64 / self.took).min(1.0))
    }

    fn bar(&self, from: Duration, until: Duration, class: &'static str, title: String) -> Bar {
        let x = self.x(from);
        // What is too short to be seen is still there.
        Bar { x, width: round((self.x(until) - x).max(1.0)), class, title, label: String::new() }
    }

    fn gap(&self, gap: &Gap, client: &ClientOutage) -> Bar {
        let class = if client.outage.as_ref() == Some(gap) { "outage" } else { "gap" };
        let end = if gap.closed { "" } else { " and longer" };
        let title = format!("nothing acknowledged for {}{end}", seconds(millis::of(gap.length())));
        self.bar(gap.from, gap.until, class, title)
    }

    fn leader(&self, index: usize, span: &LeaderSpan) -> Bar {
        let class = if index.is_multiple_of(2) { "leader even" } else { "leader odd" };
        let title = format!("timeline {} on {}", span.timeline, span.member.as_ref().unwrap_or(&span.server));
        let mut bar = self.bar(span.from, span.until, class, title.clone());
        // Six units for a character, more or less.
        if bar.width > title.len() as f64 * 6.0 {
            bar.label = title;
        }
        bar
    }
}

/// Bars of a histogram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Histogram {
    pub(super) left: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) full_width: f64,
    pub(super) full_height: f64,
    pub(super) bars: Vec<Column>,
    pub(super) ticks: Vec<Mark>,
    /// The promise, where it is within the picture.
    pub(super) promised: Option<f64>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Column {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) title: String,
}

/// How often an outage was how long; `None` without any.
pub(super) fn histogram(outages: &[Duration], promised: Option<Duration>) -> Option<Histogram> {
    let longest = outages.iter().copied().max().map(millis::of)?;
    let shown = longest.max(promised.map_or(0, millis::of)).max(1);
    let step = nice(shown.div_ceil(BARS));
    let mut counts = vec![0_u32; usize::try_from(shown / step + 1).unwrap_or(1)];
    for outage in outages {
        let place = usize::try_from(millis::of(*outage) / step).unwrap_or(0);
        counts[place] += 1;
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let end = step * counts.len() as u64;
    let x = |at: u64| round(30.0 + WIDTH / 2.0 * (at as f64 / end as f64));
    let bars = (0..).zip(&counts).filter(|(_, count)| **count > 0).map(|(index, count)| {
        let (from, height) = (index * step, HEIGHT * f64::from(*count) / most);
        let runs = if *count == 1 { "run" } else { "runs" };
        Column {
            x: x(from),
            y: round(HEIGHT + 10.0 - height),
            width: round(x(from + step) - x(from) - 1.0),
            height: round(height),
            title: format!("{count} {runs} from {} to {}", seconds(from), seconds(from + step)),
        }
    });
    let ticks = ticks(end).into_iter().map(|at| Mark { x: x(at), text: seconds(at), title: String::new() });
    Some(Histogram {
        left: 30.0,
        width: WIDTH / 2.0,
        height: HEIGHT + 10.0,
        full_width: WIDTH / 2.0 + 70.0,
        full_height: HEIGHT + 34.0,
        bars: bars.collect(),
        ticks: ticks.collect(),
        promised: promised.map(|promised| x(millis::of(promised))),
    })
}

/// Where to mark an axis that is so many milliseconds long.
fn ticks(length: u64) -> Vec<u64> {
    let step = nice(length.div_ceil(TICKS));
    (0..=length / step).map(|count| count * step).collect()
}

/// The next of 1, 2, 5, 10, 20, 50 …
fn nice(at_least: u64) -> u64 {
    let steps =
        std::iter::successors(Some(1_u64), |ten| ten.checked_mul(10)).flat_map(|ten| [1, 2, 5].map(|n| ten.saturating_mul(n)));
    steps.into_iter().find(|step| *step >= at_least).unwrap_or(u64::MAX)
}

/// Seconds with as many digits as say something.
pub(super) fn seconds(millis: u64) -> String {
    let text = format!("{:.3}", millis as f64 / 1000.0);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A tenth of a unit is finer than a screen.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_marked_at_round_numbers() {
        assert_eq!(ticks(40_000), (0..=8).map(|n| n * 5000).collect::<Vec<_>>());
        assert_eq!(ticks(1), [0, 1]);
        assert_eq!(nice(0), 1);
        assert_eq!(nice(201), 500);
        assert_eq!((seconds(0), seconds(1500), seconds(20_000)), ("0 s".into(), "1.5 s".into(), "20 s".into()));
    }

    #[test]
    fn every_outage_is_in_one_bar() {
        let millis = |counts: &[u64]| counts.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        let drawn = histogram(&millis(&[0, 4000, 4100, 9000]), Some(Duration::from_millis(5000))).expect("a picture");
        assert_eq!(drawn.bars.len(), 3);
        assert_eq!(drawn.bars[1].title, "2 runs from 4 s to 5 s");
        assert!(drawn.promised.is_some());
        assert_eq!(histogram(&[], None), None);
        assert!(histogram(&millis(&[0]), None).is_some());
    }
}
