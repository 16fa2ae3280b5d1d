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
