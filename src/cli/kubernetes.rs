//! Which cluster, as kubectl asks for it.

use std::path::PathBuf;

use crate::app::{Candidacy, ClusterHome, Whereabouts, Within};
use crate::cluster::{ConnectOptions, Scope, ScopeError};
use crate::config::env_path;

/// The namespace that `deploy/` puts the operator into.
const OPERATOR: &str = "probegate";

/// Which cluster.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// Keep resources and runs in a Kubernetes cluster, as custom resources.
    #[arg(long, env = "PROBEGATE_KUBERNETES", value_parser = clap::builder::FalseyValueParser::new())]
    kubernetes: bool,
    /// The kubeconfig; by default those of KUBECONFIG, `~/.kube/config`, or that of the pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; by default its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Only objects with the label `probegate.io/instance=NAME`; by default those without that label.
    #[arg(long, value_name = "NAME", env = "PROBEGATE_INSTANCE")]
    instance: Option<String>,
}

/// The cluster, for whoever is its operator.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct OperatorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only these namespaces; by default all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', env = "PROBEGATE_NAMESPACES")]
    namespaces: Vec<String>,
}

/// The cluster, for somebody at a terminal.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct TerminalArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The namespace that the operator runs in.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, env = "PROBEGATE_OPERATOR_NAMESPACE")]
    operator_namespace: String,
}

impl ClusterArgs {
    /// Whether a cluster is meant: said so, or where only a cluster can be meant.
    fn is_meant(&self) -> bool {
        self.kubernetes || self.kubeconfig.is_some() || self.context.is_some() || self.instance.is_some()
    }

    fn connect(self) -> ConnectOptions {
        let kubeconfig = self.kubeconfig.or_else(|| env_path("KUBECONFIG"));
        ConnectOptions { kubeconfig, context: self.context }
    }
}

impl OperatorArgs {
    /// Whether a cluster is meant.
    pub(super) fn is_meant(&self) -> bool {
        self.cluster.is_meant()
    }

    /// The cluster as home.
    pub(super) fn home(self, candidacy: Candidacy, data: Option<PathBuf>) -> Result<ClusterHome, ScopeError> {
        let scope = Scope::new(self.namespaces, self.cluster.instance.clone())?;
        Ok(ClusterHome { connect: self.cluster.connect(), scope, candidacy, data })
    }
}

impl TerminalArgs {
    /// Whether a cluster is meant.
    pub(super) fn is_meant(&self) -> bool {
        self.cluster.is_meant()
    }

    /// Where the user wants to work.
    pub(super) fn whereabouts(self, within: Within) -> Whereabouts {
        let (operator, instance) = (self.operator_namespace, self.cluster.instance.clone());
        Whereabouts { connect: self.cluster.connect(), within, instance, operator }
    }
}
