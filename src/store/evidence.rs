//! The budget of a run's evidence: what is too large for a home is thinned, then left out, and the
//! record says so. Pure.

use serde_json::{Map, Value, json};

/// The most that the status of a run may take as JSON, in a home that keeps it in etcd: a sixth of
/// etcd's limit for a request, because the object carries its spec, its plan and its owners' names
/// as well, and thousands of runs share one database.
pub const BUDGET_BYTES: usize = 262_144;
/// Series are not thinned below this: fewer points show no course.
const LEAST_POINTS: usize = 16;
/// Where the record of a check says what was done to its evidence.
const NOTE: &str = "trimmed";

/// Makes the evidence in a run's status fit into `budget` bytes. Series (lists of more than 16
/// points) are thinned first, all of them alike, their first and last point kept; then the largest
/// values are left out. Outcomes, summaries and everything beside the evidence stay. Whether
/// anything was done.
pub(super) fn fit(status: &mut Value, budget: usize) -> bool {
    if size(status) <= budget {
        return false;
    }
    let mut every = 1_u32;
    while size(status) > budget && thin(status) {
        every = every.saturating_mul(2);
        if every == 2 {
            // The note takes its own place from the first step on.
            note_thinned(status, every);
        }
    }
    if every > 2 {
        note_thinned(status, every);
    }
    let mut done = every > 1;
    while size(status) > budget && leave_out(status) {
        done = true;
    }
    done
}

fn size(value: &Value) -> usize {
    /// Counts what would be written.
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

fn evidence(status: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let checks = status.get_mut("checks").and_then(Value::as_array_mut).into_iter().flatten();
    checks.filter_map(|check| check.get_mut("evidence")?.as_object_mut())
}

/// Takes every second point out of every innermost series; whether there was one.
fn thin(status: &mut Value) -> bool {
    let mut any = false;
    for evidence in evidence(status) {
        for (field, value) in evidence.iter_mut() {
            if field != NOTE {
                any |= thin_value(value);
            }
        }
    }
    any
}

fn thin_value(value: &mut Value) -> bool {
    match value {
        Value::Array(points) => {
            let mut below = false;
            for point in points.iter_mut() {
                below |= thin_value(point);
            }
            if below || points.len() <= LEAST_POINTS {
                return below;
            }
            let last = points.len() - 1;
            let mut place = 0;
            points.retain(|_| {
                let keep = place % 2 == 0 || place == last;
                place += 1;
                keep
            });
            true
        }
        Value::Object(members) => {
            let mut any = false;
            for member in members.values_mut() {
                any |= thin_value(member);
            }
            any
        }
        _ => false,
    }
}

/// Leaves out the largest value of all checks' evidence; whether there was one.
fn leave_out(status: &mut Value) -> bool {
    let mut largest: Option<(usize, usize, String)> = None;
    for (place, evidence) in evidence(status).enumerate() {
        for (field, value) in evidence.iter() {
            let bytes = size(value);
            if field != NOTE && largest.as_ref().is_none_or(|(most, ..)| bytes > *most) {
                largest = Some((bytes, place, field.clone()));
            }
        }
    }
    let Some((_, place, field)) = largest else { return false };
    let Some(evidence) = evidence(status).nth(place) else { return false };
    evidence.remove(&field);
    edit_note(evidence, |note| {
        let left_out = note.entry("leftOut").or_insert_with(|| json!([]));
        if let Some(left_out) = left_out.as_array_mut() {
            left_out.push(Value::String(field));
        }
    });
    true
}

fn note_thinned(status: &mut Value, every: u32) {
    for evidence in evidence(status) {
        edit_note(evidence, |note| {
            note.insert("everyNthPoint".to_owned(), Value::from(every));
        });
    }
}

/// Changes the note on a check's evidence, which is made where there is none.
fn edit_note(evidence: &mut Map<String, Value>, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut note = match evidence.remove(NOTE) {
        Some(Value::Object(note)) => note,
        _ => Map::from_iter([("why".to_owned(), Value::from("the record would be too large with all that was seen"))]),
    };
    edit(&mut note);
    evidence.insert(NOTE.to_owned(), Value::Object(note));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(checks: &[(usize, usize)]) -> Value {
        let checks: Vec<Value> = checks
            .iter()
            .enumerate()
            .map(|(number, (series, text))| {
                let points: Vec<Value> = (0..*series).map(|at| json!([at, "0.001"])).collect();
                json!({
                    "name": format!("check-{number}"), "outcome": "pass", "summary": "fine",
                    "evidence": {"series": [{"labels": {"arm": "canary"}, "points": points}], "log": "x".repeat(*text)}
                })
            })
            .collect();
        json!({"verdict": "pass", "reason": "all passed", "plan": {"soak": "5m"}, "checks": checks})
    }

    fn without_evidence(mut status: Value) -> Value {
        for check in status["checks"].as_array_mut().unwrap() {
            check.as_object_mut().unwrap().remove("evidence");
        }
        status
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut small = status(&[(10, 10), (60, 100)]);
        let before = small.clone();
        assert!(!fit(&mut small, BUDGET_BYTES));
        assert_eq!(small, before);
    }

    #[test]
    fn series_are_thinned_before_anything_is_left_out_and_the_record_says_so() {
        let mut large = status(&[(1_000, 100)]);
        assert!(fit(&mut large, 4_096));
        let evidence = &large["checks"][0]["evidence"];
        let points = evidence["series"][0]["points"].as_array().unwrap();
        assert!(points.len() > LEAST_POINTS / 2 && points.len() < 300, "{}", points.len());
        assert_eq!((&points[0], points.last().unwrap()), (&json!([0, "0.001"]), &json!([999, "0.001"])));
        assert_eq!(evidence["trimmed"]["everyNthPoint"], 4);
        assert_eq!(evidence["trimmed"].get("leftOut"), None);
        assert_eq!(evidence["log"].as_str().unwrap().len(), 100);
    }

    #[test]
    fn what_cannot_be_thinned_is_left_out_the_largest_first() {
        let mut large = status(&[(10, 5_000), (10, 400)]);
        assert!(fit(&mut large, 2_048));
        assert_eq!(large["checks"][0]["evidence"]["trimmed"]["leftOut"], json!(["log"]));
        assert_eq!(large["checks"][1]["evidence"]["log"].as_str().unwrap().len(), 400);
    }

    proptest! {
        #[test]
        fn the_record_fits_keeps_what_decides_and_is_stable(
            checks in proptest::collection::vec((0_usize..400, 0_usize..3_000), 0..6), budget in 1_500_usize..20_000,
        ) {
            let mut record = status(&checks);
            let before = record.clone();
            let done = fit(&mut record, budget);
            prop_assert_eq!(done, record != before);
            prop_assert_eq!(without_evidence(record.clone()), without_evidence(before.clone()));
            prop_assert!(size(&record) <= budget, "{} of {budget}", size(&record));
            let said = record["checks"].as_array().unwrap().iter().any(|check| check["evidence"].get(NOTE).is_some());
            prop_assert_eq!(said, done);
            let once = record.clone();
            prop_assert!(!fit(&mut record, budget));
            prop_assert_eq!(record, once);
        }

        #[test]
        fn no_shape_makes_it_fail(text in "[a-z0-9{}\\[\\]:,\"]{0,60}") {
            let value = serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text));
            for mut status in [value.clone(), json!({"checks": value.clone()}), json!({"checks": [{"evidence": value}]})] {
                fit(&mut status, 8);
            }
        }
    }
}
