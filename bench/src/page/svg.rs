//! What all charts share: the frame with its title and description, axes, and marks that tell servers apart without
//! their colours.

use super::text::escape;
use std::fmt::Write as _;

/// Width of a chart in its own units. A card on a phone is nearly as wide in pixels, so text keeps its size.
pub const WIDTH: f64 = 400.0;
/// Colours that the style sheet has for servers besides the first, whose colour nobody else has.
const COLOURS: usize = 7;
/// Shapes of marks.
const SHAPES: usize = 7;

/// How to draw one server: the same in every chart of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Number in the order of servers, floors apart.
    pub index: usize,
    /// Floors are grey and dashed.
    pub floor: bool,
}

impl Style {
    /// Class that sets the colour.
    pub fn class(self) -> String {
        match (self.floor, self.index) {
            (true, index) => format!("f{}", index % 2),
            (false, 0) => "c0".to_owned(),
            (false, index) => format!("c{}", 1 + (index - 1) % COLOURS),
        }
    }

    /// Class that sets the dashes of a line.
    pub fn dash(self) -> &'static str {
        match (self.floor, self.cycle()) {
            (true, _) => "d1",
            (false, 0) => "d0",
            (false, _) => "d2",
        }
    }

    /// How often the colours have been used up.
    fn cycle(self) -> usize {
        self.index.saturating_sub(1) / COLOURS
    }

    /// A mark at a place.
    pub fn mark(self, x: f64, y: f64) -> String {
        let r = 4.4;
        let class = self.class();
        let path = |points: &[(f64, f64)]| {
            let points: Vec<String> =
                points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * r, y + dy * r)).collect();
            format!(r#"<polygon class="m {class}" points="{}"/>"#, points.join(" "))
        };
        // Floors begin elsewhere, lest the first of them look like the first server.
        match (self.index + if self.floor { 4 } else { self.cycle() }) % SHAPES {
            0 => format!(r#"<circle class="m {class}" cx="{x:.1}" cy="{y:.1}" r="{r}"/>"#),
            1 => path(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            2 => path(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
            3 => path(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
            4 => path(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)]),
            5 => path(&[(-1.2, -0.4), (1.2, -0.4), (1.2, 0.4), (-1.2, 0.4)]),
            _ => path(&[(-0.4, -1.2), (0.4, -1.2), (0.4, 1.2), (-0.4, 1.2)]),
        }
    }
}

/// Where a chart draws, in its own units.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// Left edge.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    /// Upper edge.
    pub top: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl Plot {
    /// From a share of the width to its place.
    pub fn x(&self, share: f64) -> f64 {
        self.left + share * (self.right - self.left)
    }

    /// From a share of the height, counted from below, to its place.
    pub fn y(&self, share: f64) -> f64 {
        self.bottom - share * (self.bottom - self.top)
    }

    /// Grid lines across with a label each at the left.
    pub fn rows(&self, out: &mut String, ticks: impl IntoIterator<Item = (f64, String)>) {
        for (share, label) in ticks {
            let y = self.y(share);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#,
                self.left, self.right
            );
            text(out, self.left - 6.0, y + 4.0, "end", "tick", &label);
        }
    }

    /// Grid lines upwards with a label each below. Labels that would touch the last one are left out.
    pub fn columns(&self, out: &mut String, ticks: impl IntoIterator<Item = (f64, String)>) {
        let mut free_from = f64::NEG_INFINITY;
        for (share, label) in ticks {
            let x = self.x(share);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/>"#,
                self.top, self.bottom
            );
            let half = width_of(&label) / 2.0;
            let x = x.min(WIDTH - half - 1.0);
            if x - half >= free_from {
                text(out, x, self.bottom + 17.0, "middle", "tick", &label);
                free_from = x + half + 6.0;
            }
        }
    }

    /// Name of the axis below its labels.
    pub fn below(&self, out: &mut String, title: &str) {
        text(out, (self.left + self.right) / 2.0, self.bottom + 36.0, "middle", "axis", title);
    }

    /// Name of the axis at the left, above it.
    pub fn above(&self, out: &mut String, title: &str) {
        text(out, 2.0, self.top - 12.0, "start", "axis", title);
    }
}

/// About how wide a label of the charts' size is.
pub fn width_of(label: &str) -> f64 {
    label.chars().count() as f64 * 6.8
}

/// A text. `anchor` is `start`, `middle` or `end`.
pub fn text(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, content: &str) {
    let _ = write!(
        out,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escape(content)
    );
}

/// The finished chart. `id` is unlike any other on the page.
pub fn frame(id: &str, title: &str, description: &str, height: f64, body: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>{body}</svg>"#,
        escape(title),
        escape(description)
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Fails on what is no XML, on coordinates that are no numbers, and on labels outside the chart.
    pub fn check(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, rest) = tag.split_once('>').expect("a tag that ends");
            assert!(!rest.contains('>'), "{rest}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let height: f64 = attribute(svg, "viewBox").rsplit(' ').next().unwrap().parse().unwrap();
        for text in svg.split("<text ").skip(1) {
            let (x, y): (f64, f64) =
                (attribute(text, "x").parse().unwrap(), attribute(text, "y").parse().unwrap());
            let content = text.split_once('>').unwrap().1.split('<').next().unwrap();
            let content = content.replace("&lt;", "<").replace("&amp;", "&");
            let width = width_of(&content);
            let from = match attribute(text, "text-anchor") {
                "start" => x,
                "middle" => x - width / 2.0,
                _ => x - width,
            };
            assert!(from >= -1.0 && from + width <= WIDTH + 1.0, "{content} from {from} is clipped");
            assert!(y > 8.0 && y < height, "{content} at {y} of {height}");
        }
    }

    fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
        tag.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap()
    }

    #[test]
    fn a_frame_is_told_to_those_who_do_not_see_it() {
        let mut body = String::new();
        text(&mut body, 10.0, 20.0, "start", "tick", "<a> & b");
        let svg = frame("x1", "CPU <b>", "two \"bars\"", 30.0, &body);
        check(&svg);
        assert!(
            svg.contains(r#"aria-labelledby="x1-t x1-d""#)
                && svg.contains(r#"<title id="x1-t">CPU &lt;b&gt;"#)
        );
        assert!(svg.contains("two &quot;bars&quot;") && svg.contains("&lt;a&gt; &amp; b"));
    }

    #[test]
    fn no_two_of_many_servers_look_alike() {
        let look = |style: Style| format!("{} {} {}", style.class(), style.dash(), style.mark(0.0, 0.0));
        let mut looks: Vec<String> = (0..16).map(|index| look(Style { index, floor: false })).collect();
        looks.extend((0..2).map(|index| look(Style { index, floor: true })));
        looks.sort();
        looks.dedup();
        assert_eq!(looks.len(), 18);
    }

    #[test]
    fn labels_below_an_axis_do_not_touch() {
        let plot = Plot { left: 0.0, right: 100.0, top: 0.0, bottom: 50.0 };
        let mut out = String::new();
        plot.columns(&mut out, (0..=20).map(|at| (f64::from(at) / 20.0, "1,000".to_owned())));
        assert_eq!((out.matches("<line").count(), out.matches("<text").count()), (21, 3));
    }
}
