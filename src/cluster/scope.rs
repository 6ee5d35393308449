//! Which objects of the cluster are ours: some namespaces or all, one instance's or nobody's.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::Api;
use kube::core::DynamicResourceScope;

/// On an object: the operator that is responsible for it, where a fleet is split over several. An
/// operator without a name is responsible for the objects without this label.
pub const LABEL_INSTANCE: &str = "probegate.io/instance";
/// The most namespaces by name: each kind has a watch in each of them.
const MAX_NAMESPACES: usize = 64;
/// The longest value of a label, and the longest namespace.
const MAX_NAME: usize = 63;

/// Which objects of the cluster are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Empty: all of them.
    namespaces: BTreeSet<String>,
    instance: Option<String>,
}

/// The objects of a kind in one of a scope's places ([`Scope::places`]).
#[must_use]
pub fn api_in<K>(client: Client, place: Option<&str>, resource: &K::DynamicType) -> Api<K>
where
    K: kube::Resource<Scope = DynamicResourceScope>,
{
    match place {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    }
}

/// Why a scope makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A namespace that is none.
    #[error("namespace \"{0}\": a namespace has 1 to 63 lower-case letters, digits and '-'")]
    Namespace(String),
    /// An instance that no label can hold.
    #[error(
        "instance \"{0}\": a name has 1 to 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit"
    )]
    Instance(String),
    /// Too many namespaces.
    #[error("{0} namespaces; at most {MAX_NAMESPACES} are allowed by name: leave them out to see all")]
    Many(usize),
}

impl Scope {
    /// Every namespace, and the objects that no instance claims.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// These namespaces (none: all), and the objects of this instance (none: those of no instance).
    ///
    /// # Errors
    /// [`ScopeError`] naming what is no namespace or no name.
    pub fn new(namespaces: impl IntoIterator<Item = String>, instance: Option<String>) -> Result<Self, ScopeError> {
        let namespaces: BTreeSet<String> = namespaces.into_iter().collect();
        if namespaces.len() > MAX_NAMESPACES {
            return Err(ScopeError::Many(namespaces.len()));
        }
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if let Some(wrong) = namespaces.iter().find(|name| !fits(name, lower, |c| lower(c) || c == '-')) {
            return Err(ScopeError::Namespace(wrong.clone()));
        }
        let word = |c: char| c.is_ascii_alphanumeric();
        match instance {
            Some(name) if !fits(&name, word, |c| word(c) || matches!(c, '-' | '_' | '.')) => {
                Err(ScopeError::Instance(name))
            }
            instance => Ok(Self { namespaces, instance }),
        }
    }

    /// The namespaces by name; empty where all are ours.
    #[must_use]
    pub const fn namespaces(&self) -> &BTreeSet<String> {
        &self.namespaces
    }

    /// Where to list and watch: once over all namespaces, or once in each.
    #[must_use]
    pub fn places(&self) -> Vec<Option<String>> {
        if self.namespaces.is_empty() {
            return vec![None];
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }

    /// The name of this operator among several.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// The label selector that leaves our objects.
    #[must_use]
    pub fn label_selector(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{LABEL_INSTANCE}={instance}"),
            None => format!("!{LABEL_INSTANCE}"),
        }
    }

    /// Whether a namespace is ours.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// Whether an object is ours, by its namespace and label.
    #[must_use]
    pub fn has(&self, metadata: &ObjectMeta) -> bool {
        let instance = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_INSTANCE)).map(String::as_str);
        self.has_namespace(metadata.namespace.as_deref().unwrap_or_default()) && instance == self.instance()
    }
}

fn fits(name: &str, edge: impl Fn(char) -> bool, inner: impl Fn(char) -> bool) -> bool {
    name.len() <= MAX_NAME
        && name.chars().next().is_some_and(&edge)
        && name.chars().next_back().is_some_and(&edge)
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;

    fn meta(namespace: &str, instance: Option<&str>) -> ObjectMeta {
        let labels = instance.map(|instance| BTreeMap::from([(LABEL_INSTANCE.to_owned(), instance.to_owned())]));
        ObjectMeta { namespace: Some(namespace.to_owned()), labels, ..ObjectMeta::default() }
    }

    #[rstest]
    #[case::everything(&[], None, "shop", None, true)]
    #[case::anothers(&[], None, "shop", Some("blue"), false)]
    #[case::ours(&[], Some("blue"), "shop", Some("blue"), true)]
    #[case::nobodys(&[], Some("blue"), "shop", None, false)]
    #[case::namespace(&["shop", "mall"], None, "mall", None, true)]
    #[case::other_namespace(&["shop", "mall"], None, "bank", None, false)]
    fn an_object_is_ours_by_namespace_and_instance(
        #[case] namespaces: &[&str],
        #[case] instance: Option<&str>,
        #[case] namespace: &str,
        #[case] labelled: Option<&str>,
        #[case] ours: bool,
    ) {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned());
        let scope = Scope::new(namespaces, instance.map(str::to_owned)).unwrap();
        assert_eq!(scope.has(&meta(namespace, labelled)), ours);
    }

    #[rstest]
    #[case(&["Shop"], None, "namespace \"Shop\": a namespace has 1 to 63 lower-case letters, digits and '-'")]
    #[case(&[""], None, "namespace \"\": a namespace has 1 to 63 lower-case letters, digits and '-'")]
    #[case(&[], Some("a,b"), "instance \"a,b\": a name has 1 to 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit")]
    fn what_is_no_name_is_refused(#[case] namespaces: &[&str], #[case] instance: Option<&str>, #[case] message: &str) {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned());
        assert_eq!(Scope::new(namespaces, instance.map(str::to_owned)).unwrap_err().to_string(), message);
    }

    #[test]
    fn the_selector_and_the_places_say_the_same() {
        let scope = Scope::new(["b".to_owned(), "a".to_owned()], Some("blue".to_owned())).unwrap();
        assert_eq!(scope.label_selector(), "probegate.io/instance=blue");
        assert_eq!(scope.places(), [Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(Scope::everything().label_selector(), "!probegate.io/instance");
        assert_eq!(Scope::everything().places(), [None]);
    }
}
