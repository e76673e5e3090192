//! Logs to standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, fmt::format::DefaultFields, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    library_log::LibraryLog,
    log_context::{JsonLines, TextFields},
    settings::Settings,
};

/// How a server logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Level, or a filter such as `info,imago_container=debug`.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

// === impl LogConfig ===

impl LogConfig {
    /// Reads the `log` section. Errors are collected in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let level = settings.text("log.level");
        if let Err(why) = filter(&level) {
            settings.reject("log.level", &why);
        }
        Self { level, json: settings.choice("log.format", &["text", "json"]) == "json" }
    }

    /// Starts logging to standard error. A second call in one process changes nothing: loggers
    /// are of the process, which may hold several containers. A filter that cannot be used, which
    /// [`read`](Self::read) would have refused, counts as `info`.
    pub fn init(&self) {
        let filter = filter(&self.level).unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            // Colours are for people, not for files.
            .with_ansi(stderr().is_terminal())
            .with_writer(stderr)
            // Told on standard error, too, which would panic: on a full disk, a server that logs to it
            // must go on.
            .log_internal_errors(false);
        let limit = LibraryLog::default();
        // Fails only where this process logs already.
        let _ = if self.json {
            logs.json().map_event_format(JsonLines).finish().with(limit).try_init()
        } else {
            logs.fmt_fields(TextFields(DefaultFields::new())).finish().with(limit).try_init()
        };
    }
}

/// Characters of a mistyped level that are shown.
const WORD_SHOWN: usize = 40;

/// A filter; a lone word must be a level, because `EnvFilter` takes a mistyped one for the name of
/// a module and then logs nothing at all.
fn filter(text: &str) -> Result<EnvFilter, String> {
    const EXPECTED: &str = "expected off, error, warn, info, debug, trace, or a filter like info,imago_container=debug";
    let lone = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    for word in lone {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            let word: String = word.chars().take(WORD_SHOWN).collect();
            return Err(format!("{EXPECTED}; {word:?} is no level"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| format!("{EXPECTED}; {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = "[log]\nlevel = \"info\"\nformat = \"text\"";

    fn read(level: &str) -> Result<LogConfig, String> {
        let overrides = [("log.level".to_owned(), level.to_owned())];
        let mut settings = Settings::load(DEFAULTS, &[], None, &overrides).unwrap();
        let config = LogConfig::read(&mut settings);
        settings.finish().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn levels_and_filters_are_taken_and_mistyped_ones_refused() {
        for level in ["off", "INFO", "trace", "info,imago_container=debug", "warn,[link]=trace"] {
            assert_eq!(read(level).unwrap().level, level);
        }
        for level in ["infoo", "verbose", "", "info,", "imago_container=loud"] {
            let error = read(level).unwrap_err();
            assert!(error.contains("log.level = "), "{error}");
        }
    }

    #[test]
    fn logging_may_be_started_twice() {
        let config = LogConfig { level: "off".to_owned(), json: true };
        config.init();
        config.init();
    }
}
