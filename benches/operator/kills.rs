//! Leaders that are killed while applications are rolled out without a pause: nothing may be let out
//! twice, nothing may be forgotten, and nothing may go out that its gate has not allowed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use kube::api::{Api, ListParams};
use probegate::api::GateRun;
use probegate::model::{Outcome, Verdict};

use super::figures::{Figures, Times};
use super::judge::{BATCHES, Fate};
use super::replicas::Replicas;
use super::shop::{NAMESPACE, PODS, Shop, app};

/// The longest time that a leader has before it is killed: some batches' time.
const LONGEST: u64 = 9_000;
/// The longest that a question is measured.
const MEASURING: u64 = 4_000;
/// Of so many versions one is bad.
const BAD: u64 = 5;
/// How long a bad version is watched standing still.
const HELD: Duration = Duration::from_secs(3);
/// What is wanted.
const FAILOVER: Duration = Duration::from_secs(15);
const HANDOVER: Duration = Duration::from_secs(3);

/// Splitmix: small, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// What the releases came to.
#[derive(Default)]
struct Done {
    good: AtomicUsize,
    bad: AtomicUsize,
    lost: std::sync::Mutex<Vec<String>>,
}

/// Kills, hands over, and counts.
pub async fn measure(
    shop: &Shop,
    replicas: &mut Replicas<'_>,
    first: u64,
    (kills, handovers, seed): (usize, usize, u64),
    figures: &mut Figures,
) -> anyhow::Result<()> {
    println!("Seed {seed:#x}; the leader is killed {kills} times and stopped {handovers} times in mid-release");
    let (done, over) = (Done::default(), AtomicBool::new(false));
    let releasing = try_join_all((0..shop.apps).map(|number| {
        let dice = Dice(seed ^ (number as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        keep_releasing(shop, app(number), first, dice, &done, &over)
    }));
    let killing = async {
        let mut dice = Dice(seed);
        let (mut failovers, mut hand) = (Times::default(), Times::default());
        for number in 0..kills + handovers {
            tokio::time::sleep(Duration::from_millis(dice.roll(LONGEST))).await;
            if number < kills {
                failovers.0.push(replicas.replace_leader("KILL").await?);
            } else {
                hand.0.push(replicas.replace_leader("TERM").await?);
            }
            eprint!("\r{} of {} leaders gone ", number + 1, kills + handovers);
        }
        eprintln!();
        over.store(true, Ordering::SeqCst);
        anyhow::Ok((failovers, hand))
    };
    let ((failovers, hand), _) = tokio::try_join!(killing, releasing)?;
    replicas.check()?;
    figures.judge(
        "failover after kill -9, until another holds the lease: least, median, most",
        failovers.spread(),
        "< 15 s",
        failovers.max() < FAILOVER,
    );
    figures.judge("hand-over on SIGTERM: least, median, most", hand.spread(), "< 3 s", hand.max() < HANDOVER);
    audit(shop, &done, &format!("{kills} kills and {handovers} stops (seed {seed:#x})"), figures).await
}

/// One application's releases, one after another, until it is over and the last one is done.
async fn keep_releasing(
    shop: &Shop,
    name: String,
    mut stable: u64,
    mut dice: Dice,
    done: &Done,
    over: &AtomicBool,
) -> anyhow::Result<()> {
    let mut version = stable;
    while !over.load(Ordering::SeqCst) {
        version += 1;
        let measuring = Duration::from_millis(dice.roll(MEASURING));
        let bad_after = (dice.roll(BAD) == 0).then(|| 1 + dice.roll(BATCHES as u64));
        shop.judge.decide_on((name.clone(), version), Fate { measuring, bad_after });
        shop.release(&name, version).await?;
        let ended = match bad_after {
            None => good(shop, &name, version, over).await,
            Some(batch) => bad(shop, &name, (version, stable, batch), over).await,
        };
        if let Err(error) = ended {
            let told = format!("{name} version {version}: {error:#}: {}", shop.book.place(&name));
            eprintln!("\n{told}");
            done.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(told);
            return Ok(());
        }
        if bad_after.is_none() {
            stable = version;
            done.good.fetch_add(1, Ordering::SeqCst);
        } else {
            done.bad.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(1_000))).await;
    }
    Ok(())
}

async fn good(shop: &Shop, name: &str, version: u64, over: &AtomicBool) -> anyhow::Result<()> {
    shop.until_after(over, || shop.is_out(name, version)).await?;
    shop.book.settled((name.to_owned(), version));
    Ok(())
}

/// It is held after its batch, and then taken back.
async fn bad(
    shop: &Shop,
    name: &str,
    (version, stable, batch): (u64, u64, u64),
    over: &AtomicBool,
) -> anyhow::Result<()> {
    let word = format!("block: post of batch {batch} of");
    let blocked = || shop.book.told(name).starts_with(&word) && shop.book.pods(name, version) > 0;
    shop.until_after(over, blocked).await?;
    tokio::time::sleep(HELD).await;
    let out = shop.book.pods(name, version);
    anyhow::ensure!(out as u64 == batch, "{out} pods are out, blocked after batch {batch}");
    shop.release(name, stable).await?;
    let back = || shop.book.rests(name) && shop.book.pods(name, stable) == PODS && shop.book.pods(name, version) == 0;
    shop.until_after(over, back).await
}

/// Holds what the operator has written down against what the other side knows.
async fn audit(shop: &Shop, done: &Done, what: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let runs: Api<GateRun> = Api::namespaced(shop.client.clone(), NAMESPACE);
    let runs = runs.list(&ListParams::default()).await?.items;
    let mut faults = shop.book.faults();
    let mut questions: BTreeMap<String, usize> = BTreeMap::new();
    for run in &runs {
        let (spec, Some(status)) = (&run.spec, &run.status) else { continue };
        let name = format!("{} {} batch {} {:?}", spec.gate, spec.change.id, spec.batch.index, spec.point);
        *questions.entry(name.clone()).or_default() += 1;
        if let Some(bypassed) = &status.bypassed {
            faults.unproven.push(format!("{name}: recorded as bypassed: {}", bypassed.how));
        }
        let version = spec.change.labels.get("version").and_then(|version| version.parse().ok()).unwrap_or(u64::MAX);
        let point = if format!("{:?}", spec.point) == "Pre" { "pre" } else { "post" };
        let release = (spec.change.target.clone(), version);
        let allowed = shop.judge.has_allowed(&release, u64::from(spec.batch.index), point);
        let passed = |check: &probegate::api::CheckStatus| check.outcome == Outcome::Pass && !check.evidence.is_empty();
        let proven = !status.checks.is_empty() && status.checks.iter().all(passed);
        if status.verdict == Verdict::Pass && !(allowed && proven) {
            faults.unproven.push(format!("{name}: a pass; allowed {allowed}, with evidence {proven}"));
        }
    }
    faults.doubled.extend(
        questions.iter().filter(|(_, count)| **count > 1).map(|(name, count)| format!("{count} runs of {name}")),
    );
    let lost = done.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let releases = done.good.load(Ordering::SeqCst) + done.bad.load(Ordering::SeqCst);
    figures.add(
        &format!("rollouts through {what}"),
        format!(
            "{releases} releases, {} of them bad and held; {} batches let out, {} runs, {} calls",
            done.bad.load(Ordering::SeqCst),
            faults.let_out,
            runs.len(),
            shop.judge.calls()
        ),
        "",
    );
    figures.judge("the same: doubled approvals", faults.doubled.len().to_string(), "0", faults.doubled.is_empty());
    figures.judge("the same: lost approvals", lost.len().to_string(), "0", lost.is_empty());
    figures.judge(
        "the same: passes without evidence, and pods that no pass let out",
        faults.unproven.len().to_string(),
        "0",
        faults.unproven.is_empty(),
    );
    for fault in faults.doubled.iter().chain(&lost).chain(&faults.unproven) {
        println!("  {fault}");
    }
    Ok(())
}
