//! The manifests for callers ask what the server answers.

use std::path::Path;

use serde_json::Value;

use super::world::{Setup, World, tokens};

fn documents(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/callers").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    text.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap()).collect()
}

/// The path of an address, with a token of the tests.
fn path_of(url: &str) -> String {
    let path = url.strip_prefix("http://probegate.probegate").unwrap_or_else(|| panic!("{url}"));
    path.replace("/t/TOKEN/", "/t/check/")
}

async fn guarded() -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(Setup { tokens: Some(tokens(dir.path())), ..Setup::default() }).await;
    (world, dir)
}

#[tokio::test]
async fn the_canary_s_webhooks_ask_and_are_answered_by_their_types() {
    let (world, _dir) = guarded().await;
    let canary = documents("flagger-canary.yaml").remove(0);
    let hooks = canary["spec"]["analysis"]["webhooks"].as_array().unwrap();
    let mut types = Vec::new();
    for hook in hooks {
        let (kind, url) = (hook["type"].as_str().unwrap(), hook["url"].as_str().unwrap());
        assert!(url.ends_with(&format!("/{kind}")), "{url} tells another type than {kind}");
        // As Flagger builds it: its own fields, and the webhook's metadata.
        let mut body = serde_json::json!({
            "name": "checkout", "namespace": "shop", "phase": "Progressing", "checksum": "85d557f47b"
        });
        if hook["metadata"].is_object() {
            body["metadata"] = hook["metadata"].clone();
        }
        let headers = [("content-type", "application/json")];
        let reply = world.send("POST", &path_of(url), &headers, &body.to_string()).await;
        let expected = if kind == "rollback" { 403 } else { 200 };
        assert_eq!(reply.status, expected, "{kind}: {reply:?}");
        types.push(kind);
    }
    assert_eq!(types, ["confirm-rollout", "confirm-traffic-increase", "confirm-promotion", "rollback", "event"]);
}

#[tokio::test]
async fn the_templates_ask_and_read_the_answer() {
    let (world, _dir) = guarded().await;
    for name in ["argo-analysistemplate.yaml", "argo-clusteranalysistemplate.yaml"] {
        let template = documents(name).remove(0);
        let metric = &template["spec"]["metrics"][0];
        assert!(metric["count"].as_u64().unwrap() >= 1_000, "without a count the Rollout is invalid");
        assert_eq!((metric["failureLimit"].as_u64(), metric["consecutiveSuccessLimit"].as_u64()), (Some(0), Some(1)));
        let web = &metric["provider"]["web"];
        let given = |text: &str| match text {
            "{{args.gate}}" => "shop/checkout".to_owned(),
            "{{args.latest}}" => "668b5944f4".to_owned(),
            "{{args.stable}}" => "5c7fccffdc".to_owned(),
            "{{args.step}}" => "1".to_owned(),
            other => other.replace("{{args.token}}", "check"),
        };
        let body: serde_json::Map<String, Value> = web["jsonBody"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), given(value.as_str().unwrap()).into()))
            .collect();
        let headers: Vec<(String, String)> = web["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| (header["key"].as_str().unwrap().to_owned(), given(header["value"].as_str().unwrap())))
            .collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let path = path_of(web["url"].as_str().unwrap());
        let reply =
            world.send(web["method"].as_str().unwrap(), &path, &headers, &Value::Object(body).to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let field = web["jsonPath"].as_str().unwrap().trim_matches(|c| "{$.}".contains(c)).to_owned();
        assert_eq!(reply.json()[&field]["verdict"], "pass");
        for condition in ["successCondition", "failureCondition"] {
            assert!(metric[condition].as_str().unwrap().starts_with("result.verdict == "), "{condition}");
        }
    }
}

#[test]
fn the_rollout_gives_the_template_every_argument() {
    let documents = documents("argo-analysistemplate.yaml");
    let (template, rollout) = (&documents[0], &documents[1]);
    let wanted: Vec<&str> = template["spec"]["args"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|arg| arg["valueFrom"].is_null())
        .map(|arg| arg["name"].as_str().unwrap())
        .collect();
    for step in rollout["spec"]["strategy"]["canary"]["steps"].as_array().unwrap() {
        let Some(args) = step["analysis"]["args"].as_array() else { continue };
        let given: Vec<&str> = args.iter().map(|arg| arg["name"].as_str().unwrap()).collect();
        assert_eq!(given, wanted);
    }
}
