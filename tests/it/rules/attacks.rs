//! Scripts that want to stall, fill or leave the sandbox: each ends in a reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use probegate::rules::{Decided, Decision, ExampleFacts, Library, ScriptErrorKind};
use proptest::prelude::*;

/// Far more than the 50 ms of an evaluation, because tests share their machine.
const AT_MOST: Duration = Duration::from_secs(10);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules/attacks")
}

/// What becomes of a rule of this text: the reason that it does not load, or its decision.
fn outcome(text: &str) -> Result<Decided, String> {
    let path = "rules/attack.rhai";
    let library = Library::compile([(path.to_owned(), text.to_owned())]).map_err(|error| error.to_string())?;
    let rule = library.rule(path).unwrap();
    let bound = rule.bind(&BTreeMap::new()).unwrap();
    Ok(bound.decide(Arc::new(ExampleFacts::default().into_facts(None))))
}

/// The same on a machine that is busy with other tests: where time ran out before the script met
/// what it is meant to meet, it is tried again.
fn outcome_in_time(text: &str) -> Result<Decided, String> {
    for _ in 0..200 {
        let outcome = outcome(text);
        let why = outcome.as_ref().map_or_else(String::as_str, |decided| decided.decision.why());
        if !why.contains("it ran longer than 40 ms") {
            return outcome;
        }
    }
    outcome(text)
}

fn kind(word: &str) -> ScriptErrorKind {
    match word {
        "limit" => ScriptErrorKind::Limit,
        "thrown" => ScriptErrorKind::Thrown,
        "result" => ScriptErrorKind::Result,
        "runtime" => ScriptErrorKind::Runtime,
        other => panic!("no kind of error is called {other}"),
    }
}

/// On a worker of the runtime, whose stack has 2 MB.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_attack_is_unknown_with_its_reason() {
    let reasons = tokio::spawn(async {
        let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut reasons = String::new();
        for file in files {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&file).unwrap();
            let expected = text.lines().next().unwrap().strip_prefix("// kind: ").unwrap().to_owned();
            let begin = Instant::now();
            let mut outcome = outcome(&text);
            assert!(begin.elapsed() < AT_MOST, "{name} took {:?}", begin.elapsed());
            if expected != "limit" {
                outcome = outcome_in_time(&text);
            }
            match outcome {
                Err(error) => {
                    assert_eq!(expected, "load", "{name}: {error}");
                    writeln!(reasons, "{name}: {error}").unwrap();
                }
                Ok(decided) => {
                    let Decision::Unknown { why } = &decided.decision else {
                        panic!("{name}: {:?}", decided.decision);
                    };
                    let error = decided.error.unwrap();
                    let late = expected == "limit" && error.kind == ScriptErrorKind::Time;
                    assert!(late || error.kind == kind(&expected), "{name}: {why}");
                    assert!(!why.is_empty() && why.chars().count() <= 301, "{name}: {why}");
                    assert!(decided.log.len() <= 21, "{name}");
                    if expected != "limit" {
                        writeln!(reasons, "{name}: {why}").unwrap();
                    }
                }
            }
        }
        reasons
    })
    .await
    .unwrap();
    insta::assert_snapshot!(reasons);
}

#[test]
fn a_loop_ends_after_so_many_operations_whatever_the_machine() {
    // A loop that stays below the limit, and one that does not.
    let text = |rounds: u32| format!("fn decide(facts) {{ let x = 0; for n in 0..{rounds} {{ x += n; }} pass() }}");
    assert_eq!(outcome_in_time(&text(1_000)).unwrap().decision, Decision::Pass);
    let error = outcome(&text(10_000_000)).unwrap().error.unwrap();
    assert!(matches!(error.kind, ScriptErrorKind::Limit | ScriptErrorKind::Time), "{error}");
}

/// Texts that are deep or long in every way that the grammar has, with what is nested `n` times.
fn shapes(n: usize) -> Vec<(&'static str, String)> {
    let wrap = |open: &str, inner: &str, close: &str| {
        format!("fn decide(facts) {{ let x = 1; {}{inner}{} }}", open.repeat(n), close.repeat(n))
    };
    let chain = |with: &str| format!("fn decide(facts) {{ let x = 1; {} }}", vec!["x"; n].join(with));
    vec![
        ("parentheses", wrap("(", "x", ")")),
        ("lists", wrap("[", "x", "]")),
        ("maps", wrap("#{a:", "x", "}")),
        ("blocks", wrap("{", "x", "}")),
        ("negations", wrap("-", "x", "")),
        ("nots", wrap("!", "true", "")),
        ("ifs", wrap("if true {", "x", "}")),
        ("else ifs", wrap("if false {} else ", "{x}", "")),
        ("whiles", wrap("while true {", "x", "}")),
        ("switches", wrap("switch x { _ => ", "x", "}")),
        ("closures", wrap("|a| ", "x", "")),
        ("called closures", wrap("(|a| ", "x", ").call(1)")),
        ("tries", wrap("try {", "x", "} catch {}")),
        ("interpolations", wrap("`${", "x", "}`")),
        ("indexes", format!("fn decide(facts) {{ let x = [1]; x{} }}", "[0]".repeat(n))),
        ("properties", format!("fn decide(facts) {{ let x = #{{}}; x{} }}", ".a".repeat(n))),
        ("elvises", format!("fn decide(facts) {{ let x = (); x{} }}", "?.a".repeat(n))),
        ("calls", format!("fn decide(facts) {{ let x = 1; x{} }}", ".to_string()".repeat(n))),
        ("arguments", wrap("max(1,", "x", ")")),
        ("sums", chain("+")),
        ("products", chain("*")),
        ("powers", chain("**")),
        ("ands", chain("&&")),
        ("coalesced", chain("??")),
        ("comparisons", chain("==")),
        ("ins", chain(" in ")),
        ("assignments", chain("=")),
        ("statements", chain(";")),
        ("variables", format!("fn decide(facts) {{ {} pass() }}", "let x = 1;".repeat(n))),
        (
            "functions",
            format!(
                "{} fn decide(facts) {{ pass() }}",
                (0..n).fold(String::new(), |mut text, at| {
                    write!(text, "fn f{at}(){{}}").unwrap();
                    text
                })
            ),
        ),
        ("comments", format!("{}{} fn decide(facts) {{ pass() }}", "/*".repeat(n), "*/".repeat(n))),
        ("a text", format!("fn decide(facts) {{ \"{}\" }}", "x".repeat(n))),
        ("a name", format!("fn decide(facts) {{ let {} = 1; }}", "x".repeat(n))),
        ("a number", format!("fn decide(facts) {{ {} }}", "9".repeat(n))),
        ("constants", format!("const A = {}; fn decide(facts) {{ pass() }}", vec!["\"x\""; n].join("+"))),
    ]
}

/// Runs on a stack of 2 MB like that of a worker; whoever drops the library drops its trees there.
#[test]
fn no_shape_of_a_text_ends_the_process() {
    let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(|| {
        for n in [20, 300, 5_000, 60_000] {
            for (name, text) in shapes(n) {
                let begin = Instant::now();
                if let Ok(decided) = outcome(&text) {
                    if decided.decision.why().contains("it ran longer than 40 ms") {
                        continue;
                    }
                    let passes = matches!(name, "variables" | "functions" | "comments" | "constants");
                    assert_eq!(decided.decision == Decision::Pass, passes && decided.error.is_none(), "{name} {n}");
                }
                assert!(begin.elapsed() < AT_MOST, "{name} {n} took {:?}", begin.elapsed());
            }
        }
    });
    worker.unwrap().join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_scripts_never_panic(
        parts in prop::collection::vec(prop::sample::select(PARTS), 1..40),
        numbers in prop::collection::vec(any::<i64>(), 4),
    ) {
        let mut text = parts.join(" ");
        for number in numbers {
            text = text.replacen('N', &number.to_string(), 1);
        }
        let text = format!("fn decide(facts) {{ let a = [1, 2, 3]; let s = \"a€\"; let m = #{{ k: 1 }}; {text} }}");
        if let Ok(decided) = outcome(&text) {
            let internal = decided.error.is_some_and(|error| error.kind == ScriptErrorKind::Internal);
            prop_assert!(!internal, "{text}");
        }
    }
}

/// Pieces that random scripts are put together from: statements with the edges of every type.
const PARTS: &[&str] = &[
    "a.push(a);",
    "a.push(s);",
    "a.push(m);",
    "a += a;",
    "s += s;",
    "m.k = a;",
    "m.k = m;",
    "a[N] = s;",
    "a[0] = m;",
    "a.insert(N, 1);",
    "a.drain(N, N);",
    "a.splice(N, N, a);",
    "a.chop(N);",
    "a.truncate(N);",
    "a.pad(N, s);",
    "a.extract(N, N);",
    "a.remove(N);",
    "a.sort();",
    "a.dedup();",
    "a.reverse();",
    "a.shift();",
    "a.pop();",
    "a = a.map(|x| [x, a]);",
    "a = a.filter(|x| x == 1);",
    "a.reduce(|x, y| x + y, N);",
    "a.zip(a, |x, y| [x, y]);",
    "s.pad(N, s);",
    "s.truncate(N);",
    "s.crop(N, N);",
    "s.remove(s);",
    "s.replace(s, \"xx\");",
    "s = s.sub_string(N, N);",
    "s = s.split(N);",
    "s = s.split(\"\");",
    "s = `${a}${m}${s}`;",
    "s[N] = 'x';",
    "s = s[N];",
    "s = s.chars();",
    "a = a.index_of(s);",
    "let f = |x| [x, a, s];",
    "let g = f.curry(a);",
    "a.push(f);",
    "f = f.curry(f);",
    "g.call(s);",
    "N + N;",
    "N * N;",
    "N / N;",
    "N % N;",
    "N ** 3;",
    "N << N;",
    "N >> N;",
    "-N;",
    "abs(N);",
    "N.to_float().to_int();",
    "parse_int(s, N);",
    "N.bits;",
    "for x in a { a.push(x); }",
    "while a.len() < 9 { a.push(N); }",
    "for i in range(N, N, N) { if i > 3 { break; } }",
    "facts.now.at(s);",
    "facts.now + s;",
    "facts.now + \"PT9H\";",
    "facts.now.next_day_in(a);",
    "time(s);",
    "changes(facts, m);",
    "count_changes(facts, #{});",
    "scope_of(facts, a);",
    "label(facts, s);",
    "throw m;",
    "return a;",
    "return s;",
    "switch a { _ => s }",
    "try { a.x } catch (e) { s = e; }",
    "let t = facts; t.now;",
    "print(a);",
    "debug(m);",
    "type_of(a);",
    "is_def_fn(\"x\", N);",
    "m.keys();",
    "m += m;",
    "m.remove(s);",
    "m.mixin(m);",
    "m.fill_with(m);",
    "m.to_json();",
    "a == m;",
    "s < s;",
    "() == a;",
    "a in a;",
];
