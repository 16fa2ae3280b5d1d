//! The page: one HTML file of a run's figures, a pure function of its JSON lines.

mod bars;
mod charts;
mod html;
mod lines;
mod model;
mod scale;
mod svg;
mod tables;
mod text;

use clap::Args;
use model::Model;
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `page`.
#[derive(Args, Clone, Debug)]
pub struct PageArgs {
    /// Files with the JSON lines of earlier runs.
    #[arg(required = true, value_name = "FILE.jsonl")]
    pub files: Vec<PathBuf>,
    /// Where to write the page.
    #[arg(long, value_name = "FILE.html")]
    pub output: PathBuf,
}

/// Makes a page of files.
pub fn run(args: &PageArgs) -> Result<(), String> {
    let mut lines = String::new();
    for file in &args.files {
        lines += &fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        lines.push('\n');
    }
    write(&args.output, &render(&lines)?)
}

/// Writes a page and tells where.
pub fn write(file: &Path, html: &str) -> Result<(), String> {
    fs::write(file, html).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    crate::report::progress(&format!("page: {}", file.display()));
    Ok(())
}

/// The page of these JSON lines.
pub fn render(lines: &str) -> Result<String, String> {
    Ok(html::page(&Model::read(lines)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A run without a floor, whose server has a name that must not become markup, and an idle one.
    const MORE: &str = r#"
{"scenario":"host","kind":"start","command":"fanwire-bench x --server '<b>'","cpu":"B","cpus":4,"io_uring":false}
{"scenario":"new_one","server":"<script>alert(1)</script>","round":1,"carrier":"sse","cpu_ns_per_delivery":0,"latency_p50_us":null}
{"scenario":"new_one","server":"<script>alert(1)</script>","round":1,"carrier":"websocket","cpu_ns_per_delivery":5}
{"scenario":"idle","server":"fanwire","connections":9000,"channels":"one","user_pss_bytes":300.5,"kernel_wait_bytes":255,"kernel_sockets_both_ends_bytes":7000,"idle_cpu_share":0.001}
{"scenario":"empty","server":"fanwire"}
{"scenario":"empty","server":"fanwire","kind":"transport","transport":"web <socket>","latency_p50_us":12.5}
{"scenario":"empty","server":"fanwire","kind":"transport","transport":"sse","latency_p50_us":3,"latency_max_us":9}
{"scenario":"host","kind":"end","seconds":3,"complete":false}
"#;

    /// Fails on tags that do not match.
    fn check_tags(html: &str) {
        let body = html.split_once("</style>").unwrap().1;
        let mut open = vec!["html", "head"];
        for tag in body.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "in {tag}"),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split([' ', '\n']).next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_page_stands_alone_and_is_well_formed() {
        for lines in [model::tests::LINES.to_owned(), model::tests::LINES.to_owned() + MORE, MORE.to_owned()]
        {
            let html = render(&lines).unwrap();
            check_tags(&html);
            for outside in ["<script", "src=", "<link", "@import", "url(", "http:", "https:", "onload"] {
                assert!(!html.contains(outside), "{outside}");
            }
            let ids: Vec<&str> =
                html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
            for named in html.split("aria-labelledby=\"").skip(1) {
                assert!(named.split('"').next().unwrap().split(' ').all(|id| ids.contains(&id)));
            }
            for link in html.split("href=\"#").skip(1) {
                assert!(ids.contains(&link.split('"').next().unwrap()));
            }
            let figures = html.matches("<figure").count();
            assert_eq!(html.matches("role=\"img\"").count(), figures);
            assert_eq!(html.matches("The values in a table").count(), figures);
            html.split("<svg viewBox=\"0 0 400").skip(1).for_each(|svg| {
                let svg = svg.split_once("</svg>").unwrap().0;
                svg::tests::check(&format!("<svg viewBox=\"0 0 400{svg}</svg>"));
            });
            assert!(!html.contains("NaN") && !html.contains("Infinity"));
        }
    }

    #[test]
    fn a_page_tells_what_the_lines_tell() {
        let html = render(model::tests::LINES).unwrap();
        for told in [
            "<h1>Fan-out</h1>",
            "fanwire-bench fanout --floor --json",
            "A &lt;CPU&gt; (2 CPUs)",
            "10 subscribers · 64 B messages",
            "110 <small>[100..120]</small>",
            "1.10 <small>[1..1.20]</small>",
            "The machine was not quiet.",
            "The harness was not the bottleneck.",
            "publishes held by full window",
            "floor (send)",
        ] {
            assert!(html.contains(told), "{told}");
        }
        assert!(!html.contains("The run failed") && !html.contains("Overview"));
        assert_eq!(html.matches("<figure").count(), 3);
        assert_eq!(render(model::tests::LINES).unwrap(), html, "nothing but the lines makes the page");
    }

    #[test]
    fn several_runs_share_a_page() {
        let html = render(&(model::tests::LINES.to_owned() + MORE)).unwrap();
        for told in [
            "<h1>Measurements</h1>",
            "Overview",
            "New one",
            "&lt;script&gt;alert(1)&lt;/script&gt;, websocket",
            "300 <small>B</small>",
            "0.1 <small>%</small>",
            "Memory per connection",
            "The run failed.",
            "--server &#39;&lt;b&gt;&#39;",
            "By transport",
            "Latency by transport",
            "<th scope=\"row\">web &lt;socket&gt;</th>",
        ] {
            assert!(html.contains(told), "{told}");
        }
        assert!(html.contains("A &lt;CPU&gt; (2 CPUs)") && html.contains("B (4 CPUs)"), "two machines");
    }

    #[test]
    fn files_become_a_page_or_a_reason() {
        let file =
            |name: &str| std::env::temp_dir().join(format!("fanwire-bench-{}-{name}", std::process::id()));
        let (lines, output) = (file("page.jsonl"), file("page.html"));
        fs::write(&lines, model::tests::LINES.trim()).unwrap();
        let args = PageArgs { files: vec![lines.clone(), lines.clone()], output: output.clone() };
        run(&args).unwrap();
        let html = fs::read_to_string(&output).unwrap();
        assert_eq!(html.matches("class=\"run\"").count(), 2);
        fs::write(&lines, "{}").unwrap();
        assert!(run(&args).unwrap_err().contains("line 1: no scenario"));
        fs::remove_file(&lines).unwrap();
        fs::remove_file(&output).unwrap();
        assert!(run(&args).unwrap_err().contains("page.jsonl"));
    }
}
