//! Which cluster, as kubectl asks for it.

use std::path::PathBuf;

use crate::app::{Candidacy, ClusterHome};
use crate::cluster::{ConnectOptions, Scope, ScopeError};

/// Which cluster, and which of its objects.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct KubernetesArgs {
    /// Keep resources and runs in a Kubernetes cluster, as custom resources.
    #[arg(long, env = "PROBEGATE_KUBERNETES", value_parser = clap::builder::FalseyValueParser::new())]
    kubernetes: bool,
    /// The kubeconfig; by default that of KUBECONFIG, `~/.kube/config`, or of the pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; by default its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Only these namespaces; by default all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', env = "PROBEGATE_NAMESPACES")]
    namespaces: Vec<String>,
    /// Only objects with the label `probegate.io/instance=NAME`; by default those without that label.
    #[arg(long, value_name = "NAME", env = "PROBEGATE_INSTANCE")]
    instance: Option<String>,
}

impl KubernetesArgs {
    /// Whether a cluster is meant: said so, or where only a cluster can be meant.
    pub(super) fn is_meant(&self) -> bool {
        self.kubernetes || self.kubeconfig.is_some() || self.context.is_some() || self.instance.is_some()
    }

    /// The cluster as home.
    pub(super) fn home(self, candidacy: Option<Candidacy>, data: Option<PathBuf>) -> Result<ClusterHome, ScopeError> {
        let scope = Scope::new(self.namespaces, self.instance)?;
        let connect = ConnectOptions { kubeconfig: self.kubeconfig, context: self.context };
        Ok(ClusterHome { connect, scope, candidacy, data })
    }
}
