//! The cookies of one run (RFC 6265, without what only browsers need): pure.

use jiff::Timestamp;
use url::Url;

/// The most cookies that are kept: as many as browsers keep for one site.
const MAX_COOKIES: usize = 50;
/// The longest cookie, as in browsers.
const MAX_COOKIE: usize = 4_096;

/// What servers asked to be sent back to them.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug, PartialEq, Eq)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Whether only the host that set it gets it.
    host_only: bool,
    path: String,
    secure: bool,
}

impl Jar {
    /// Takes what an answer of `url` set.
    pub(super) fn take(&mut self, url: &Url, header: &str, now: Timestamp) {
        let Some((cookie, gone)) = read(url, header, now) else { return };
        self.0.retain(|old| (&old.name, &old.domain, &old.path) != (&cookie.name, &cookie.domain, &cookie.path));
        if !gone && self.0.len() < MAX_COOKIES {
            self.0.push(cookie);
        }
    }

    /// The header for a request of `url`; the longest paths come first.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let host = url.host_str().unwrap_or_default();
        let mut sent: Vec<&Cookie> = self
            .0
            .iter()
            .filter(|cookie| if cookie.host_only { host == cookie.domain } else { within(host, &cookie.domain) })
            .filter(|cookie| covers(&cookie.path, url.path()) && (!cookie.secure || url.scheme() == "https"))
            .collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = sent.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The value of the newest cookie of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
    }
}

/// A cookie, and whether it is to be forgotten.
fn read(url: &Url, header: &str, now: Timestamp) -> Option<(Cookie, bool)> {
    if header.len() > MAX_COOKIE || header.contains(char::is_control) {
        return None;
    }
    let mut parts = header.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let host = url.host_str()?;
    let mut cookie = Cookie {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
        domain: host.to_owned(),
        host_only: true,
        path: usual_path(url.path()),
        secure: false,
    };
    let (mut expired, mut age) = (false, None);
    for part in parts {
        let (key, value) = part.split_once('=').map_or((part, ""), |(key, value)| (key.trim(), value.trim()));
        match key.to_ascii_lowercase().as_str() {
            "domain" => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                // A host sets cookies for itself and what is above it, but not for a whole country.
                if !within(host, &domain) || !domain.contains('.') && domain != host {
                    return None;
                }
                (cookie.domain, cookie.host_only) = (domain, false);
            }
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "secure" => cookie.secure = true,
            "max-age" => age = value.parse::<i64>().ok(),
            "expires" => expired = jiff::fmt::rfc2822::parse(value).is_ok_and(|at| at.timestamp() <= now),
            _ => {}
        }
    }
    let gone = age.map_or(expired, |age| age <= 0);
    (!cookie.name.is_empty()).then_some((cookie, gone))
}

/// The directory of a path.
fn usual_path(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) if !directory.is_empty() => directory.to_owned(),
        _ => "/".to_owned(),
    }
}

/// Whether a host is a domain or below it; an address has nothing below it.
fn within(host: &str, domain: &str) -> bool {
    let below = || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    host == domain || !domain.is_empty() && host.parse::<std::net::IpAddr>().is_err() && below()
}

/// Whether a cookie's path covers a request's.
fn covers(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn sent(set: &str, from: &str, to: &str) -> Option<String> {
        let mut jar = Jar::default();
        jar.take(&url(from), set, "2026-01-01T00:00:00Z".parse().unwrap());
        jar.header(&url(to))
    }

    #[rstest]
    #[case("a=b", "http://shop/login", "http://shop/orders", Some("a=b"))]
    #[case("a=b", "http://shop/user/login", "http://shop/orders", None)]
    #[case("a=b; Path=/", "http://shop/user/login", "http://shop/orders", Some("a=b"))]
    #[case("a=b; path=/order", "http://shop/", "http://shop/orders", None)]
    #[case("a=b; path=/orders", "http://shop/", "http://shop/orders/1", Some("a=b"))]
    #[case("a=b", "http://shop/", "http://other/", None)]
    #[case("a=b", "http://shop.example/", "http://www.shop.example/", None)]
    #[case("a=b; Domain=.Shop.example", "http://login.shop.example/", "http://www.shop.example/", Some("a=b"))]
    #[case("a=b; domain=shop.example", "http://evil.example/", "http://shop.example/", None)]
    #[case("a=b; domain=example", "http://shop.example/", "http://other.example/", None)]
    #[case("a=b; domain=0.0.1", "http://127.0.0.1/", "http://10.0.0.1/", None)]
    #[case("a=b; Secure", "https://shop/", "http://shop/", None)]
    #[case("a=b; Secure", "https://shop/", "https://shop/", Some("a=b"))]
    #[case("a=b; Max-Age=0", "http://shop/", "http://shop/", None)]
    #[case("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://shop/", "http://shop/", None)]
    #[case("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", "http://shop/", "http://shop/", Some("a=b"))]
    #[case("a=b; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "http://shop/", "http://shop/", Some("a=b"))]
    #[case("=b", "http://shop/", "http://shop/", None)]
    #[case("nothing", "http://shop/", "http://shop/", None)]
    fn a_cookie_goes_back_where_it_belongs(
        #[case] set: &str,
        #[case] from: &str,
        #[case] to: &str,
        #[case] header: Option<&str>,
    ) {
        assert_eq!(sent(set, from, to).as_deref(), header);
    }

    #[test]
    fn a_cookie_is_replaced_and_forgotten_by_its_name() {
        let (mut jar, shop, now) = (Jar::default(), url("http://shop/"), Timestamp::UNIX_EPOCH);
        for set in ["a=1", "b=2", "a=3"] {
            jar.take(&shop, set, now);
        }
        assert_eq!((jar.header(&shop).as_deref(), jar.get("a")), (Some("b=2; a=3"), Some("3")));
        jar.take(&shop, "b=; Max-Age=0", now);
        assert_eq!((jar.header(&shop).as_deref(), jar.get("b")), (Some("a=3"), None));
    }

    proptest! {
        #[test]
        fn a_jar_has_an_end(sets in proptest::collection::vec("\\PC{0,60}", 0..120)) {
            let (mut jar, shop) = (Jar::default(), url("http://shop/a/b"));
            for set in &sets {
                jar.take(&shop, set, Timestamp::UNIX_EPOCH);
            }
            prop_assert!(jar.0.len() <= MAX_COOKIES);
            prop_assert!(jar.header(&shop).is_none_or(|header| !header.contains(char::is_control)));
        }
    }
}
