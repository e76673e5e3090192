//! What log lines say of the request that they are about: formatted only where a line is written,
//! where a span is for every request.

use std::{
    fmt::{self, Display},
    future::Future,
    sync::Arc,
};

use crate::Suppressed;
use tokio::task::futures::TaskLocalFuture;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Writer},
    },
    registry::LookupSpan,
};

use crate::library_log::left_out;

tokio::task_local! {
    static CURRENT: Arc<dyn LogContext>;
}

/// What the log lines of some work are about.
pub trait LogContext: Send + Sync + 'static {
    /// Names and values, one call each.
    fn fields(&self, field: &mut dyn FnMut(&'static str, &dyn Display));
}

/// Has all that a future logs say what it is about.
pub fn in_log_context<F: Future>(
    context: Arc<dyn LogContext>,
    future: F,
) -> TaskLocalFuture<Arc<dyn LogContext>, F> {
    CURRENT.scope(context, future)
}

/// Fields of a line of text, with those of the context behind them.
pub(crate) struct TextFields(pub(crate) DefaultFields);

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        let mut written = Ok(());
        let write = |context: &Arc<dyn LogContext>| {
            context.fields(&mut |name, value| {
                written = written.and_then(|()| write!(writer, " {name}={value}"));
            });
        };
        // Without one there is nothing to be said.
        let _ = CURRENT.try_with(write);
        written.and_then(|()| write!(writer, "{}", left_out()))
    }
}

/// JSON objects with a member `request` that holds the fields of the context.
pub(crate) struct JsonLines<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for JsonLines<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        let mut request = serde_json::Map::new();
        let collect = |context: &Arc<dyn LogContext>| {
            context.fields(&mut |name, value| {
                request.insert(name.to_owned(), value.to_string().into());
            });
        };
        let _ = CURRENT.try_with(collect);
        let mut members = String::new();
        if !request.is_empty() {
            members = format!(",\"request\":{}", serde_json::Value::Object(request));
        }
        if let Suppressed(lines @ 1..) = left_out() {
            members = format!("{members},\"left_out\":{lines}");
        }
        match line.trim_end().strip_suffix('}') {
            Some(open) if !members.is_empty() => writeln!(writer, "{open}{members}}}"),
            _ => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
pub(crate) use self::tests::Log;

#[cfg(test)]
mod tests {
    use std::io;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::{MakeWriter, format};

    use super::*;

    struct Request;

    impl LogContext for Request {
        fn fields(&self, field: &mut dyn FnMut(&'static str, &dyn Display)) {
            field("command", &"chat.user.talk");
            field("seq", &7);
        }
    }

    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Log {
        pub(crate) fn lines(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    async fn log_twice() {
        in_log_context(Arc::new(Request), async { tracing::warn!(tries = 2, "failed") }).await;
        tracing::warn!("outside");
    }

    #[tokio::test]
    async fn lines_of_text_say_what_they_are_about() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .fmt_fields(TextFields(DefaultFields::new()))
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        log_twice().await;
        let lines = log.lines();
        assert!(lines[0].ends_with("failed tries=2 command=chat.user.talk seq=7"), "{lines:?}");
        assert!(lines[1].ends_with("outside"), "{lines:?}");
    }

    #[tokio::test]
    async fn lines_of_json_say_what_they_are_about() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .json()
            .map_event_format(|_| JsonLines(format().json()))
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        log_twice().await;
        let lines = log.lines();
        let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(first["request"], serde_json::json!({"command": "chat.user.talk", "seq": "7"}));
        assert_eq!(first["fields"]["tries"], 2);
        let second: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert!(second.get("request").is_none(), "{second}");
    }
}
