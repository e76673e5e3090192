//! Figures as one self-contained page, with tables and pictures.

use std::fmt::Write;

use serde_json::Value;

use super::{
    escape::escaped,
    picture::{Bar, Curve, bars, picture},
};

/// A page that grows from top to bottom.
pub(crate) struct Page {
    title: String,
    body: String,
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: escaped(title), body: String::new() }
    }

    /// A line below.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.add(format_args!("<p>{}</p>\n", escaped(text)));
        self
    }

    /// Lines below, as a list.
    pub(crate) fn list(mut self, lines: &[String]) -> Self {
        let items: String =
            lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
        self.add(format_args!("<ul>{items}</ul>\n"));
        self
    }

    /// A table below.
    pub(crate) fn table(mut self, headings: &[&str], rows: &[Vec<String>]) -> Self {
        let cell = |kind: &str, text: &str| format!("<{kind}>{}</{kind}>", escaped(text));
        let headings: String =
            headings.iter().map(|text| cell("th", &text.to_lowercase())).collect();
        self.add(format_args!("<table><tr>{headings}</tr>\n"));
        for row in rows {
            let cells: String = row.iter().map(|text| cell("td", text)).collect();
            self.add(format_args!("<tr>{cells}</tr>\n"));
        }
        self.add(format_args!("</table>\n"));
        self
    }

    /// Adds curves over `seconds`, below a heading.
    pub(crate) fn picture(mut self, heading: &str, curves: &[Curve<'_>], seconds: f64) -> Self {
        let picture = picture(curves, seconds);
        self.add(format_args!("<h2>{}</h2>\n{picture}\n", escaped(heading)));
        self
    }

    /// Bars beside each other, below a heading.
    pub(crate) fn bars(mut self, heading: &str, each: &[Bar<'_>]) -> Self {
        let picture = bars(each);
        self.add(format_args!("<h2>{}</h2>\n{picture}\n", escaped(heading)));
        self
    }

    /// The whole page, with the settings at its end.
    pub(crate) fn end(self, settings: &Value) -> String {
        let (title, body) = (self.title, self.body);
        let settings = escaped(&format!("{settings:#}"));
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>\
             :root {{ color-scheme: light dark }}\
             body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem }}\
             td, th {{ padding: .2rem 1rem .2rem 0; text-align: right }}\
             td:first-child, th:first-child {{ text-align: left }}\
             svg {{ width: 100%; height: auto }} svg text {{ font-size: 12px; fill: currentColor }}\
             pre {{ white-space: pre-wrap }}</style></head><body>\n\
             <h1>{title}</h1>\n{body}<h2>Settings</h2>\n<pre>{settings}</pre>\n</body></html>\n"
        )
    }

    fn add(&mut self, html: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.body.write_fmt(html);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_markup_is_text() {
        let rows = [vec!["<td>".to_owned()]];
        let page = Page::new("<h1>").text("<p>").list(&["<li>".to_owned()]).table(&["<TH>"], &rows);
        let page = page.end(&json!({ "of": "<pre>" }));
        for text in ["h1", "p", "li", "td", "th", "pre"] {
            assert!(page.contains(&format!("&lt;{text}&gt;")), "{text}: {page}");
        }
    }
}
