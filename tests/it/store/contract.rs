//! What every home promises. Nothing here may know which home it has.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use probegate::model::Labels;
use probegate::store::{Object, Query, StoreError, WatchEvent};
use rstest::rstest;
use serde_json::json;

use super::home::{
    Home, Opened, decided, gate, labelled, names, object, run, spec, verdict, version, waiting, with_status,
    without_version,
};

/// Time enough for any home, and never waited for in full when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

type Events = BoxStream<'static, Result<WatchEvent<Object>, StoreError>>;

async fn next(events: &mut Events) -> WatchEvent<Object> {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("an event in time").expect("a further event").unwrap()
}

/// The next event as `L:a,b`, `A:name` or `D:name`.
async fn told(events: &mut Events) -> String {
    match next(events).await {
        WatchEvent::Listed(objects) => format!("L:{}", names(&objects).join(",")),
        WatchEvent::Applied(object) => format!("A:{}", object.name),
        WatchEvent::Deleted(object) => format!("D:{}", object.name),
    }
}

#[rstest]
fn create_gives_what_only_the_store_can_say(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;

        let created = store.create(run("a")).await.unwrap();

        let metadata = &created.body["metadata"];
        assert_eq!(metadata["generation"], 1);
        opened.assert_now(&metadata["creationTimestamp"]);
        assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
        assert!(!version(&created).is_empty());
        assert_eq!(created.body["spec"], spec());
        assert_eq!(store.get("GateRun", "shop", "a").await.unwrap(), Some(created));
    });
}

#[rstest]
fn create_keeps_a_status_that_comes_along(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;

        let created = store.create(with_status(run("a"), decided())).await.unwrap();

        assert_eq!(created.body["status"], decided());
        let query = Query { decided: Some(true), ..Query::default() };
        assert_eq!(names(&store.list("GateRun", &query).await.unwrap().items), ["a"]);
    });
}

#[rstest]
fn a_name_is_taken_once_per_kind_and_namespace(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        store.create(run("a")).await.unwrap();

        let again = store.create(run("a")).await.unwrap_err();
        assert!(matches!(again, StoreError::Exists { .. }), "{again}");
        assert_eq!(again.to_string(), "GateRun shop/a exists already");

        store.create(gate("a")).await.unwrap();
        store.create(object("GateRun", "other", "a", json!({}), spec())).await.unwrap();
    });
}

#[rstest]
fn what_is_not_there_is_none_to_get_and_not_found_to_the_rest(
    #[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home,
) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;

        assert_eq!(store.get("GateRun", "shop", "a").await.unwrap(), None);
        for error in [
            store.put(run("a")).await.unwrap_err(),
            store.put_status(run("a")).await.unwrap_err(),
            store.delete("GateRun", "shop", "a", None).await.unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "GateRun shop/a does not exist");
        }
    });
}

#[rstest]
fn put_writes_the_spec_and_leaves_the_status(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let created = store.create(with_status(gate("a"), verdict("wait"))).await.unwrap();

        let mut changed = with_status(created.clone(), verdict("pass"));
        changed.body["spec"]["target"]["names"] = json!(["other"]);
        let put = store.put(changed).await.unwrap();

        assert_eq!(put.body["spec"]["target"]["names"], json!(["other"]));
        assert_eq!(put.body["status"], verdict("wait"));
        assert_eq!(put.body["metadata"]["generation"], 2);
        for field in ["uid", "creationTimestamp", "name", "namespace"] {
            assert_eq!(put.body["metadata"][field], created.body["metadata"][field], "{field}");
        }
        assert_ne!(version(&put), version(&created));
        assert_eq!(store.get("Gate", "shop", "a").await.unwrap(), Some(put));
    });
}

#[rstest]
fn put_status_writes_the_status_and_leaves_the_rest(
    #[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home,
) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let created = store.create(labelled("a", "tier", "web")).await.unwrap();

        let mut changed = with_status(created.clone(), decided());
        changed.body["spec"]["gate"] = json!("other");
        changed.body["metadata"]["labels"] = json!({});
        let put = store.put_status(changed).await.unwrap();

        assert_eq!(put.body["status"], decided());
        assert_eq!(put.body["spec"], created.body["spec"]);
        assert_eq!(put.body["metadata"]["labels"], json!({"tier": "web"}));
        assert_eq!(put.body["metadata"]["generation"], 1);
        assert_ne!(version(&put), version(&created));
    });
}

#[rstest]
fn the_generation_stays_when_only_metadata_change(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let created = store.create(run("a")).await.unwrap();

        let mut changed = created.clone();
        changed.body["metadata"]["annotations"] = json!({"probegate.io/source": "a.yaml:1"});
        changed.body["metadata"]["generation"] = json!(77);
        let put = store.put(changed).await.unwrap();

        assert_eq!(put.body["metadata"]["generation"], 1);
        assert_eq!(put.body["metadata"]["annotations"]["probegate.io/source"], "a.yaml:1");
        assert_ne!(version(&put), version(&created));
    });
}

#[rstest]
fn a_write_that_changes_nothing_is_no_change(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let created = store.create(with_status(run("a"), decided())).await.unwrap();

        // As a file has it: without anything that the store has added.
        assert_eq!(version(&store.put(run("a")).await.unwrap()), version(&created));
        assert_eq!(version(&store.put_status(created.clone()).await.unwrap()), version(&created));
    });
}

#[rstest]
fn whoever_writes_second_gets_a_conflict(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let created = store.create(gate("a")).await.unwrap();
        store.put_status(with_status(created.clone(), verdict("wait"))).await.unwrap();

        let mut changed = created.clone();
        changed.body["spec"]["target"]["names"] = json!(["other"]);
        for error in [
            store.put(changed.clone()).await.unwrap_err(),
            store.put_status(with_status(created.clone(), verdict("pass"))).await.unwrap_err(),
            store.delete("Gate", "shop", "a", Some(&version(&created))).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        }

        changed.body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!(store.put(changed).await.unwrap().body["spec"]["target"]["names"], json!(["other"]));
    });
}

#[rstest]
fn another_resource_of_the_same_name_is_a_conflict(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let mut first = store.create(run("a")).await.unwrap();
        store.delete("GateRun", "shop", "a", Some(&version(&first))).await.unwrap();
        store.create(run("a")).await.unwrap();

        first.body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let error = store.put_status(with_status(first, decided())).await.unwrap_err();

        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    });
}

#[rstest]
fn of_many_writers_exactly_one_wins_each_version(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        store.create(run("a")).await.unwrap();

        let writers = (0..8).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut wins = 0;
                while wins < 25 {
                    let read = store.get("GateRun", "shop", "a").await.unwrap().unwrap();
                    let count = read.body["status"]["attempt"].as_u64().unwrap_or(0) + 1;
                    let mut status = waiting(&format!("writer {writer}"));
                    status["attempt"] = json!(count);
                    match store.put_status(with_status(read, status)).await {
                        Ok(_) => wins += 1,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }

        let end = store.get("GateRun", "shop", "a").await.unwrap().unwrap();
        assert_eq!(end.body["status"]["attempt"], 8 * 25);
    });
}

#[rstest]
fn lists_are_newest_first_and_paged(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        for name in ["a", "b", "c", "d", "e"] {
            store.create(run(name)).await.unwrap();
            opened.later().await;
        }
        // What is written later is not newer.
        store.put_status(with_status(run("a"), decided())).await.unwrap();

        let mut query = Query { limit: 2, ..Query::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.list("GateRun", &query).await.unwrap();
            seen.push(names(&page.items).join(","));
            // What comes in between does not shift the pages.
            store.create(run(&format!("later-{}", seen.len()))).await.unwrap();
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }

        assert_eq!(seen, ["e,d", "c,b", "a"]);
    });
}

#[rstest]
fn a_page_that_holds_just_everything_has_no_next(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        for name in ["a", "b"] {
            store.create(run(name)).await.unwrap();
        }

        let page = store.list("GateRun", &Query { limit: 2, ..Query::default() }).await.unwrap();

        assert_eq!((page.items.len(), page.next), (2, None));
    });
}

#[rstest]
fn a_foreign_page_mark_is_refused(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let query = Query { after: Some("so what".to_owned()), ..Query::default() };

        let error = store.list("GateRun", &query).await.unwrap_err();

        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    });
}

#[rstest]
#[case::all(&[], None, None, "d,c,b,a")]
#[case::label(&[("tier", "web")], None, None, "c,b,a")]
#[case::two_labels(&[("tier", "web"), ("zone", "x")], None, None, "c,a")]
#[case::no_such_value(&[("tier", "mail")], None, None, "")]
#[case::no_such_key(&[("rank", "web")], None, None, "")]
#[case::namespace(&[], Some("shop"), None, "d,b,a")]
#[case::label_and_namespace(&[("tier", "web")], Some("shop"), None, "b,a")]
#[case::decided(&[], None, Some(true), "c,a")]
#[case::open(&[], None, Some(false), "d,b")]
#[case::label_and_open(&[("tier", "web")], None, Some(false), "b")]
#[case::everything(&[("tier", "web"), ("zone", "x")], Some("shop"), Some(true), "a")]
fn lists_and_watches_filter_alike(
    #[case] labels: &[(&str, &str)],
    #[case] namespace: Option<&str>,
    #[case] is_decided: Option<bool>,
    #[case] expected: &str,
    #[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home,
) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let create = async |namespace, name, labels, status| {
            store.create(with_status(object("GateRun", namespace, name, labels, spec()), status)).await.unwrap();
            opened.later().await;
        };
        create("shop", "a", json!({"tier": "web", "zone": "x"}), decided()).await;
        create("shop", "b", json!({"tier": "web", "zone": "y"}), waiting("soak")).await;
        create("mall", "c", json!({"tier": "web", "zone": "x"}), decided()).await;
        create("shop", "d", json!({"tier": "db"}), json!(null)).await;
        store.create(Object { body: gate("a").body, ..gate("a") }).await.unwrap();
        let query = Query {
            namespace: namespace.map(str::to_owned),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            decided: is_decided,
            ..Query::default()
        };

        let page = store.list("GateRun", &query).await.unwrap();
        let mut events = store.watch("GateRun", query);

        assert_eq!(names(&page.items).join(","), expected);
        assert_eq!(told(&mut events).await, format!("L:{expected}"));
    });
}

#[rstest]
fn a_changed_label_is_found_under_its_new_value(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        store.create(labelled("a", "tier", "web")).await.unwrap();
        let find = async |value: &str| {
            let labels = Labels::from([("tier".to_owned(), value.to_owned())]);
            names(&store.list("GateRun", &Query { labels, ..Query::default() }).await.unwrap().items).join(",")
        };

        store.put(labelled("a", "tier", "db")).await.unwrap();

        assert_eq!((find("web").await.as_str(), find("db").await.as_str()), ("", "a"));
        store.delete("GateRun", "shop", "a", None).await.unwrap();
        assert_eq!(find("db").await, "");
    });
}

#[rstest]
fn a_watch_tells_what_is_there_and_then_every_change(
    #[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home,
) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        store.create(run("a")).await.unwrap();
        let mut events = store.watch("GateRun", Query::default());
        assert_eq!(told(&mut events).await, "L:a");

        let created = store.create(run("b")).await.unwrap();
        assert_eq!(next(&mut events).await, WatchEvent::Applied(created.clone()));
        let put = store.put_status(with_status(created, decided())).await.unwrap();
        assert_eq!(next(&mut events).await, WatchEvent::Applied(put.clone()));
        store.create(gate("not-a-run")).await.unwrap();
        store.delete("GateRun", "shop", "b", None).await.unwrap();
        let WatchEvent::Deleted(last) = next(&mut events).await else { panic!("it was deleted") };
        // A home may count the deletion as a version.
        assert_eq!(without_version(last), without_version(put));
    });
}

#[rstest]
fn what_leaves_the_filter_of_a_watch_is_deleted_to_it(
    #[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home,
) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        store.create(labelled("a", "tier", "web")).await.unwrap();
        opened.later().await;
        store.create(labelled("b", "tier", "web")).await.unwrap();
        let labels = Labels::from([("tier".to_owned(), "web".to_owned())]);
        let mut open = store.watch("GateRun", Query { decided: Some(false), labels, ..Query::default() });
        assert_eq!(told(&mut open).await, "L:b,a");

        store.put_status(with_status(run("a"), decided())).await.unwrap();
        store.put(labelled("b", "tier", "db")).await.unwrap();
        store.put(labelled("b", "tier", "mail")).await.unwrap();
        store.put(labelled("b", "tier", "web")).await.unwrap();

        assert_eq!(told(&mut open).await, "D:a");
        assert_eq!(told(&mut open).await, "D:b");
        assert_eq!(told(&mut open).await, "A:b");
    });
}

#[rstest]
fn a_limited_watch_lists_the_newest_and_tells_every_change(
    #[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home,
) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        for name in ["a", "b", "c"] {
            store.create(run(name)).await.unwrap();
            opened.later().await;
        }

        let mut events = store.watch("GateRun", Query { limit: 2, ..Query::default() });

        assert_eq!(told(&mut events).await, "L:c,b");
        store.put_status(with_status(run("a"), decided())).await.unwrap();
        assert_eq!(told(&mut events).await, "A:a");
    });
}

#[rstest]
fn a_watch_that_lags_behind_begins_anew(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let mut events = store.watch("GateRun", Query { limit: 3, ..Query::default() });
        assert_eq!(told(&mut events).await, "L:");

        // More than any home holds back, while nobody looks.
        let writes = (0..3_000).map(|index| store.create(run(&format!("run-{index:04}"))));
        futures::stream::iter(writes).buffer_unordered(64).for_each(|created| async { drop(created.unwrap()) }).await;
        store.create(run("last")).await.unwrap();

        let mut lists = 0;
        loop {
            match next(&mut events).await {
                WatchEvent::Listed(objects) => {
                    lists += 1;
                    if objects[0].name == "last" {
                        break;
                    }
                }
                WatchEvent::Applied(object) if object.name == "last" => break,
                WatchEvent::Applied(_) => {}
                WatchEvent::Deleted(object) => panic!("{} was never deleted", object.name),
            }
        }
        assert!(lists > 0, "3000 changes must not be held back in memory");
    });
}

#[rstest]
fn a_watch_misses_nothing_while_others_write(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;
        let writer = {
            let store = store.clone();
            tokio::spawn(async move {
                for index in 0..300 {
                    store.create(run(&format!("run-{index}"))).await.unwrap();
                }
            })
        };

        let mut events = store.watch("GateRun", Query::default());
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 300 {
            match next(&mut events).await {
                WatchEvent::Listed(objects) => seen = objects.into_iter().map(|object| object.name).collect(),
                WatchEvent::Applied(object) => assert!(seen.insert(object.name), "told twice"),
                WatchEvent::Deleted(object) => panic!("{} was never deleted", object.name),
            }
        }
        writer.await.unwrap();
    });
}

#[rstest]
fn a_store_that_works_is_ready(#[values(Home::Memory, Home::Directory, Home::Cluster)] home: Home) {
    home.run(async |opened| {
        let Opened { store, .. } = &opened;

        store.ready().await.unwrap();
        store.create(run("a")).await.unwrap();
        store.ready().await.unwrap();
    });
}
