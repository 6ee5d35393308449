//! A Prometheus server, or whatever speaks its API: the one file that knows the library.

use std::collections::HashMap;
use std::time::Duration;

use prometheus_http_query::response::{Data, PromqlResult, Sample};
use prometheus_http_query::{Client as Prometheus, Error};
use serde::Deserialize;
use url::Url;

use super::judge::{Range, Series};
use crate::outbound::{ClientOptions, Outbound, explain, read_limited};

/// The largest answer: 1,000 series of a few hundred points each have less.
const MAX_ANSWER: usize = 16 << 20;
/// The longest message of a server that is handed on.
const MAX_MESSAGE: usize = 300;
/// The most warnings that are kept.
const MAX_WARNINGS: usize = 8;

/// What a server answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) series: Vec<Series>,
    /// A server warns when its answer is not whole.
    pub(super) warnings: Vec<String>,
}

/// A server by its base URL.
#[derive(Clone)]
pub(super) struct Server {
    url: Url,
    outbound: Outbound,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<serde_json::Value>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

impl Server {
    pub(super) const fn new(url: Url, outbound: Outbound) -> Self {
        Self { url, outbound }
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// The answer to a query: at one instant, the server's own now, or over a range.
    ///
    /// # Errors
    /// A sentence: the server cannot be reached, refuses, or answers what is no answer.
    pub(super) async fn query(&self, query: &str, range: Option<&Range>, timeout: Duration) -> Result<Answer, String> {
        let client = self.client().await?;
        let millis = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        // POST: a query may be longer than a URL.
        let call = async {
            match range {
                None => client.query(query).timeout(millis).post_raw().await,
                Some(range) => {
                    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 are whole here and fit")]
                    let (start, end) = (range.start as i64, range.end as i64);
                    client.query_range(query, start, end, range.step).timeout(millis).post_raw().await
                }
            }
        };
        let answer = async {
            let response = call.await.map_err(|error| trouble(&error))?;
            let status = response.status();
            let body = read_limited(response, MAX_ANSWER).await.map_err(|error| error.to_string())?;
            if status.is_success() { read(&body) } else { Err(refused(status.as_u16(), &body)) }
        };
        let spent = format!("no answer within {} ms", timeout.as_millis());
        tokio::time::timeout(timeout, answer).await.map_err(|_| spent)?
    }

    async fn client(&self) -> Result<Prometheus, String> {
        let client = self.outbound.client(&ClientOptions::default()).await.map_err(|error| error.to_string())?;
        let bare = client.bare(&self.url).map_err(|refused| refused.to_string())?;
        Prometheus::from(bare, self.url.as_str().trim_end_matches('/')).map_err(|error| error.to_string())
    }
}

fn trouble(error: &Error) -> String {
    match error {
        Error::Client(error) => error.inner().map_or_else(|| error.to_string(), explain),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a server says that answers with an error: in its API's form, or a proxy's in any.
fn refused(status: u16, body: &[u8]) -> String {
    let why = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => format!("{}: {}", envelope.error_type, envelope.error),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    cut(&format!("status {status}: {why}"))
}

/// Reads an answer.
fn read(body: &[u8]) -> Result<Answer, String> {
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is not that of a Prometheus server: {}", cut(&error.to_string())))?;
    if envelope.status != "success" {
        return Err(cut(&format!("{}: {}", envelope.error_type, envelope.error)));
    }
    let data = envelope.data.ok_or("the answer has no data")?;
    let result: PromqlResult = serde_json::from_value(data).map_err(|error| {
        format!("the answer is no vector, matrix or scalar of numbers: {}", cut(&error.to_string()))
    })?;
    let series = match result.into_inner().0 {
        Data::Scalar(sample) => vec![one(HashMap::new(), &[sample])],
        Data::Vector(vector) => vector.into_iter().map(|v| one(v.metric().clone(), &[*v.sample()])).collect(),
        Data::Matrix(matrix) => matrix
            .into_iter()
            .map(|vector| {
                let (labels, samples) = vector.into_inner();
                one(labels, &samples)
            })
            .collect(),
    };
    Ok(Answer { series, warnings: envelope.warnings.iter().take(MAX_WARNINGS).map(|warning| cut(warning)).collect() })
}

fn one(labels: HashMap<String, String>, samples: &[Sample]) -> Series {
    let points = samples.iter().map(|sample| (sample.timestamp(), sample.value())).collect();
    Series { labels: labels.into_iter().collect(), points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"2"]}]}}"#,
        1
    )]
    #[case(
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"],[2,"NaN"]]}]}}"#,
        2
    )]
    #[case(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"+Inf"]}}"#, 1)]
    fn every_type_of_numbers_is_read(#[case] body: &str, #[case] points: usize) {
        let answer = read(body.as_bytes()).unwrap();
        assert_eq!(answer.series[0].points.len(), points);
    }

    #[rstest]
    #[case("", "not that of a Prometheus server")]
    #[case("<html>", "not that of a Prometheus server")]
    #[case("{}", "not that of a Prometheus server")]
    #[case(r#"{"status":"success"}"#, "no data")]
    #[case(
        r#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#,
        "bad_data: parse error at char 3"
    )]
    #[case(r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#, "no vector, matrix or scalar")]
    #[case(
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1"}]}]}}"#,
        "no vector, matrix or scalar"
    )]
    fn what_is_no_answer_says_why(#[case] body: &str, #[case] why: &str) {
        let error = read(body.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn warnings_are_kept() {
        let body =
            r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store eu-2: timeout"]}"#;
        assert_eq!(read(body.as_bytes()).unwrap().warnings, ["store eu-2: timeout"]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body in "\\PC{0,80}") {
            let _ = read(body.as_bytes());
        }
    }
}
