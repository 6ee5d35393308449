//! `kill -9` in a loop against the real program: no verdict is lost, changed or doubled, and runs
//! in flight go on.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// How often the program is killed.
const KILLS: u64 = 200;
/// Questions that are asked at one time.
const ASKERS: u64 = 6;
/// The longest time that the program may take to answer for its readiness, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A business check that takes its time and says no to every seventh change.
struct Business;

impl Respond for Business {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let number = number_of(body["change"]["id"].as_str().unwrap());
        let slow = Duration::from_millis(number * 37 % 120);
        ResponseTemplate::new(200).set_body_json(json!({"ok": !number.is_multiple_of(7)})).set_delay(slow)
    }
}

fn number_of(change: &str) -> u64 {
    change.trim_start_matches("c-").parse().unwrap()
}

/// The program, killed when it goes out of scope.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(files: &Path, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_probegate"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "-f"])
            .arg(files)
            .arg("--data")
            .arg(data)
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the program ended while it started:\n{seen}") };
            if let Some((_, rest)) = line.split_once("Ready for questions.").filter(|_| line.contains("http://")) {
                break rest.split("http://").nth(1).unwrap().trim_matches(['"', ' ']).to_owned();
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        // The pipe is read on, so that the program never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{url}") }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn question(number: u64) -> Value {
    json!({
        "gate": "shop/checkout",
        "change": {"id": format!("c-{number}"), "target": format!("t-{number}"), "revision": format!("v{number}"), "action": "release", "actor": "ci"},
        "batch": {"index": 1, "total": 2, "percent": 50},
        "point": "post",
    })
}

async fn ask(client: &reqwest::Client, url: &str, number: u64, wait: &str) -> Option<Value> {
    let response = client.post(format!("{url}/v1/check?wait={wait}")).json(&question(number)).send().await.ok()?;
    assert_eq!(response.status(), 200);
    response.json().await.ok()
}

/// Every final answer: the change's number with the run and the verdict. An answer that contradicts
/// an earlier one fails the test at once.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<u64, (String, String)>>>);

impl Book {
    /// Waits until so many more verdicts have been told.
    async fn grown_by(&self, more: usize) {
        let before = self.0.lock().unwrap().len();
        let begun = Instant::now();
        while self.0.lock().unwrap().len() < before + more {
            assert!(begun.elapsed() < PATIENCE, "no verdicts are told");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, number: u64, answer: &Value) -> bool {
        let verdict = answer["verdict"].as_str().unwrap().to_owned();
        if verdict == "wait" {
            return false;
        }
        let expected = if number.is_multiple_of(7) { "block" } else { "pass" };
        assert_eq!(verdict, expected, "change {number}: {answer}");
        let said = (answer["id"].as_str().unwrap().to_owned(), verdict);
        let mut book = self.0.lock().unwrap();
        let before = book.entry(number).or_insert_with(|| said.clone());
        assert_eq!(*before, said, "change {number} has two verdicts");
        true
    }
}

/// Asks from `next` on until the program dies.
async fn keep_asking(client: reqwest::Client, url: String, book: Book, next: Arc<Mutex<u64>>) {
    loop {
        let number = {
            let mut next = next.lock().unwrap();
            *next += 1;
            // Now and then an old question, which must get its old answer.
            if next.is_multiple_of(5) { *next / 2 } else { *next }
        };
        let Some(answer) = ask(&client, &url, number, "5s").await else { return };
        book.note(number, &answer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_survive_two_hundred_kills() {
    // Nobody else in this process needs the provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let business = MockServer::start().await;
    Mock::given(any()).respond_with(Business).mount(&business).await;
    let dir = tempfile::tempdir().unwrap();
    let (files, data) = (dir.path().join("files"), dir.path().join("data"));
    std::fs::create_dir_all(&files).unwrap();
    let gate = format!(
        "kind: Gate\nmetadata: {{name: checkout, namespace: shop}}\nspec:\n  target: {{names: ['t-*']}}\n  history: {{runs: 100000}}\n  post:\n    timeout: 5m\n    checks:\n    - {{name: business, webhook: {{url: '{}/run', expect: 'body.ok == true'}}}}\n",
        business.uri()
    );
    std::fs::write(files.join("gate.yaml"), gate).unwrap();

    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
    let (book, next) = (Book::default(), Arc::new(Mutex::new(0)));
    for kill in 0..KILLS {
        let program = Program::start(&files, &data);
        let askers: Vec<_> = (0..ASKERS)
            .map(|_| tokio::spawn(keep_asking(client.clone(), program.url.clone(), book.clone(), Arc::clone(&next))))
            .collect();
        if kill.is_multiple_of(3) {
            // Every third time in the middle of the work, however slow the machine is.
            book.grown_by(4).await;
        }
        // From right after the start to well into the work, in no rhythm with it.
        tokio::time::sleep(Duration::from_millis(5 + kill * 53 % 170)).await;
        program.kill();
        for asker in askers {
            asker.await.unwrap();
        }
    }

    let program = Program::start(&files, &data);
    let asked = *next.lock().unwrap();
    let told = book.0.lock().unwrap().len();
    assert!(told > 100, "only {told} verdicts were told: the test kills too early");
    // Every verdict that was told is still the same, and every question that was asked gets one.
    let begun = Instant::now();
    for number in 1..=asked {
        while !book.note(number, &ask(&client, &program.url, number, "10s").await.unwrap()) {
            assert!(begun.elapsed() < PATIENCE, "change {number} is not decided");
        }
    }
    // One run for each question: none was doubled.
    let mut runs: HashMap<String, u32> = HashMap::new();
    let mut after = None;
    loop {
        let mut url = reqwest::Url::parse(&format!("{}/v1/runs?limit=100", program.url)).unwrap();
        url.query_pairs_mut().extend_pairs(after.iter().map(|after: &String| ("after", after)));
        let page: Value = client.get(url).send().await.unwrap().json().await.unwrap();
        for run in page["items"].as_array().unwrap() {
            *runs.entry(run["change"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(runs.len() as u64, asked, "every question has a run");
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
}
