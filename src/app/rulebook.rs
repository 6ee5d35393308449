//! The rules in force: the ready-made ones and those below the files, compiled again whenever a
//! script changes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::config::Scripts;
use crate::rules::Library;

/// The library in force. Cheap to clone; all clones are one book.
#[derive(Clone)]
pub(super) struct RuleBook {
    library: watch::Sender<Arc<Library>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl RuleBook {
    /// A book with the ready-made rules and `scripts`.
    pub(super) fn new(scripts: &Scripts) -> Self {
        let book = Self { library: watch::Sender::new(Library::builtin()), trouble: Arc::default() };
        book.take(scripts);
        book
    }

    /// The library, now and whenever it changes.
    pub(super) fn library(&self) -> watch::Receiver<Arc<Library>> {
        self.library.subscribe()
    }

    /// What is wrong with the scripts as they are now; the last good library is in force meanwhile.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the scripts for as long as it is polled.
    pub(super) async fn follow(self, mut scripts: watch::Receiver<Arc<Scripts>>) {
        while scripts.changed().await.is_ok() {
            let now = Arc::clone(&scripts.borrow_and_update());
            let book = self.clone();
            // Compiling runs every script's top level: not on a worker of the runtime.
            if tokio::task::spawn_blocking(move || book.take(&now)).await.is_err() {
                tracing::error!("The rules could not be compiled; the last good ones stay in force.");
            }
        }
    }

    fn take(&self, scripts: &Scripts) {
        let files = scripts.iter().map(|(path, text)| (path.clone(), text.clone()));
        let trouble = match Library::compile(files) {
            Ok(library) => {
                self.library.send_replace(Arc::new(library));
                None
            }
            Err(error) => {
                tracing::error!(%error, "A rule is broken; the last good rules stay in force.");
                Some(error.to_string())
            }
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "fn decide(facts) { pass() }";

    fn scripts(text: &str) -> Scripts {
        Scripts::from([("rules/mine.rhai".to_owned(), text.to_owned())])
    }

    fn hash(book: &RuleBook) -> Option<String> {
        book.library().borrow().rule("rules/mine.rhai").ok().map(|rule| rule.hash().to_owned())
    }

    #[tokio::test]
    async fn a_broken_rule_keeps_the_last_good_one_and_says_so() {
        let sender = watch::Sender::new(Arc::new(scripts(GOOD)));
        let book = RuleBook::new(&scripts(GOOD));
        let first = hash(&book);
        assert!(first.is_some() && book.trouble().is_none());

        let task = tokio::spawn(book.clone().follow(sender.subscribe()));
        tokio::task::yield_now().await;
        sender.send_replace(Arc::new(scripts("fn decide(facts) { pass( }")));
        while book.trouble().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(hash(&book), first);

        sender.send_replace(Arc::new(scripts("fn decide(facts) { block(\"no\") }")));
        while book.trouble().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_ne!(hash(&book), first);
        task.abort();
    }
}
