//! An operator under a service account of its own, with the rights of `deploy/` in one namespace.

use std::path::Path;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::Place;
use crate::replicas::program::token;

/// The rules of a role of `deploy/access.yaml`.
fn granted(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/access.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let documents = text.split("\n---\n").map(|part| serde_saphyr::from_str::<Value>(part).unwrap());
    documents.into_iter().find(|one| one["metadata"]["name"] == name).unwrap()["rules"].clone()
}

/// The service account of an operator that works in the story's namespace alone, with the rights of
/// `deploy/`.
pub struct Operator<'a> {
    place: &'a Place,
    pub kubeconfig: tempfile::NamedTempFile,
}

impl<'a> Operator<'a> {
    pub async fn create(place: &'a Place) -> Self {
        let secret = token(place, "operator", &[]).await;
        let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(&place.kubeconfig).unwrap()).unwrap();
        config["users"][0]["user"] = json!({"token": secret});
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), config.to_string()).unwrap();
        let operator = Self { place, kubeconfig };
        operator.grant("all", &granted("probegate-operator"), false).await;
        operator.grant("leader", &granted("probegate-leader"), false).await;
        // Who asks is not a question of one namespace.
        let who: Vec<Value> = granted("probegate-operator").as_array().unwrap().clone();
        let who = who.into_iter().filter(|rule| rule["apiGroups"][0].as_str().unwrap().ends_with("tion.k8s.io"));
        operator.grant("who", &who.collect(), true).await;
        operator
    }

    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.place.namespace)
    }

    /// Makes a role and binds it, in the story's namespace or everywhere.
    async fn grant(&self, what: &str, rules: &Value, everywhere: bool) {
        let (name, new) = (self.name(what), PostParams::default());
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let all: Api<ClusterRole> = Api::all(self.place.client.clone());
        all.create(&new, &serde_json::from_value(role).unwrap()).await.unwrap();
        if everywhere {
            let all: Api<ClusterRoleBinding> = Api::all(self.place.client.clone());
            all.create(&new, &serde_json::from_value(self.binding(what)).unwrap()).await.unwrap();
        } else {
            self.bind(what).await;
        }
    }

    fn binding(&self, what: &str) -> Value {
        json!({
            "metadata": {"name": self.name(what)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name(what)},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": self.place.namespace}],
        })
    }

    fn bindings(&self) -> Api<RoleBinding> {
        Api::namespaced(self.place.client.clone(), &self.place.namespace)
    }

    pub async fn bind(&self, what: &str) {
        let binding = serde_json::from_value(self.binding(what)).unwrap();
        self.bindings().create(&PostParams::default(), &binding).await.unwrap();
    }

    pub async fn unbind(&self, what: &str) {
        self.bindings().delete(&self.name(what), &DeleteParams::default()).await.unwrap();
    }

    /// What is not of the namespace does not go with it.
    pub async fn tidy(&self) {
        for what in ["all", "leader", "who"] {
            let roles: Api<ClusterRole> = Api::all(self.place.client.clone());
            let _ = roles.delete(&self.name(what), &DeleteParams::default()).await;
        }
        let all: Api<ClusterRoleBinding> = Api::all(self.place.client.clone());
        let _ = all.delete(&self.name("who"), &DeleteParams::default()).await;
    }
}
