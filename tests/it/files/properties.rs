//! What holds for any text: the loader never panics, and the schema and the types agree.

use probegate::api::AnyResource;
use probegate::config::{Judgement, Loaded, judge, load_with};
use proptest::prelude::*;

const VALID: &str = include_str!("../../data/valid/checkout.yaml");

fn read(text: impl Into<Vec<u8>>) -> Loaded {
    load_with(&[], vec![("any.yaml".into(), text.into())]).unwrap()
}

/// Whatever the validator lets through has been read by the types: a document that the types
/// refuse behind the validator's back carries this rule.
fn agrees(loaded: &Loaded) -> Result<(), TestCaseError> {
    let slipped: Vec<_> = loaded.diagnostics.iter().filter(|found| found.rule == "schema").collect();
    prop_assert!(slipped.is_empty(), "{slipped:?}");
    Ok(())
}

/// One change of a valid text, as a careless hand or a broken disk makes it.
#[derive(Debug, Clone)]
enum Slip {
    Delete(usize, usize),
    Insert(usize, String),
    Swap(usize, usize),
    Replace(usize, String),
}

/// Values that mean something to YAML or to the schemas.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "null",
            "~",
            "true",
            "no",
            "on",
            "0",
            "-1",
            "010",
            "0x1F",
            "1e3",
            "1.5",
            ".inf",
            ".nan",
            "9999999999999999999999",
            "{}",
            "[]",
            "[a, b]",
            "{a: b}",
            "\"\"",
            "''",
            "5s",
            "22:30",
            "2026-05-01",
            "P1D",
            "&a",
            "*a",
            "<<",
            "!!str",
            "---",
            "\t",
            "- ",
            ": ",
            "#",
            "|",
            ">",
            "%",
            "spec",
            "checks",
            "name",
            "enforce",
            "\u{feff}",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
        "\\PC{0,3}",
    ]
}

fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![
        (0..VALID.len(), 1_usize..30).prop_map(|(at, length)| Slip::Delete(at, length)),
        (0..VALID.len(), piece()).prop_map(|(at, text)| Slip::Insert(at, text)),
        (0_usize..90, 0_usize..90).prop_map(|(a, b)| Slip::Swap(a, b)),
        (0_usize..400, piece()).prop_map(|(value, text)| Slip::Replace(value, text)),
    ]
}

fn slipped(text: &str, slip: &Slip) -> String {
    match slip {
        Slip::Delete(at, length) => {
            let chars = text.chars();
            chars.clone().take(*at).chain(chars.skip(at + length)).collect()
        }
        Slip::Insert(at, piece) => {
            let chars = text.chars();
            chars.clone().take(*at).chain(piece.chars()).chain(chars.skip(*at)).collect()
        }
        Slip::Swap(a, b) => {
            let mut lines: Vec<&str> = text.lines().collect();
            if *a < lines.len() && *b < lines.len() {
                lines.swap(*a, *b);
            }
            lines.join("\n")
        }
        // The n-th value after a colon: what a schema judges.
        Slip::Replace(value, piece) => {
            let Some((at, _)) = text.match_indices(": ").nth(*value) else { return text.to_owned() };
            let (head, tail) = text.split_at(at + 2);
            let end = tail.find([',', '}', '\n', ']']).unwrap_or(tail.len());
            format!("{head}{piece}{}", &tail[end..])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(bytes);
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}") {
        let _ = read(text);
    }

    #[test]
    fn no_yaml_like_text_makes_the_loader_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        let _ = read(pieces.concat());
        let _ = read(pieces.join("\n"));
    }

    #[test]
    fn what_the_validator_accepts_the_types_read(slips in prop::collection::vec(slip(), 1..4)) {
        let text = slips.iter().fold(VALID.to_owned(), |text, slip| slipped(&text, slip));
        let loaded = read(text);
        agrees(&loaded)?;
        // Nor does judging what was accepted ever panic.
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let _ = judge(&loaded, Judgement { now, whole: true });
    }

    #[test]
    fn what_was_read_reads_back_from_its_own_json(slips in prop::collection::vec(slip(), 0..3)) {
        let text = slips.iter().fold(VALID.to_owned(), |text, slip| slipped(&text, slip));
        for resource in read(text).all() {
            let body = resource.to_value().unwrap();
            let again = AnyResource::from_value(resource.kind(), body.clone()).unwrap();
            prop_assert_eq!(&again.unwrap(), resource);
            // And the validator takes what the types write.
            let json = serde_json::to_string(&body).unwrap();
            let loaded = read(json.clone());
            prop_assert!(!loaded.has_errors(), "{json}: {:?}", loaded.diagnostics);
        }
    }

    #[test]
    fn every_place_lies_inside_the_text(slips in prop::collection::vec(slip(), 1..4)) {
        let text = slips.iter().fold(VALID.to_owned(), |text, slip| slipped(&text, slip));
        let lines = text.lines().count().max(1);
        for found in read(text).diagnostics {
            prop_assert!(found.line >= 1 && found.line <= lines + 1 && found.column >= 1, "{found}");
        }
    }
}
