//! Secrets, from directories and vaults.

use super::*;
use rstest::rstest;

fn secrets() -> (tempfile::TempDir, Secrets) {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("secrets");
    std::fs::create_dir_all(root.join("a")).unwrap();
    std::fs::write(root.join("a/token"), "s3cret\r\n").unwrap();
    std::fs::write(root.join("empty"), "\n").unwrap();
    std::fs::write(root.join("binary"), [0xff, 0xfe]).unwrap();
    std::fs::write(root.join("large"), vec![b'x'; MAX_SECRET + 1]).unwrap();
    std::fs::write(base.path().join("outside"), "not yours").unwrap();
    std::os::unix::fs::symlink("../outside", root.join("escape")).unwrap();
    std::os::unix::fs::symlink("a", root.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/token", root.join("mounted")).unwrap();
    (base, Secrets::new(Some(root)))
}

#[rstest]
#[case("a/token")]
#[case("./a/token")]
#[case("mounted")]
#[tokio::test]
async fn a_secret_comes_without_its_line_end(#[case] path: &str) {
    let (_base, secrets) = secrets();
    assert_eq!(secrets.text(path).await.unwrap().expose_secret(), "s3cret");
}

#[rstest]
#[case("../outside")]
#[case("a/../../outside")]
#[case("/etc/passwd")]
#[case("escape")]
#[case("")]
#[case("a\0b")]
#[tokio::test]
async fn a_path_that_leads_out_is_refused(#[case] path: &str) {
    let (_base, secrets) = secrets();
    assert_eq!(secrets.text(path).await.unwrap_err(), SecretError::Outside(path.to_owned()));
}

#[rstest]
#[case("missing", "No such file")]
#[case("a", "not a file")]
#[case("empty", "is empty")]
#[case("binary", "not UTF-8")]
#[case("large", "larger than 16384 bytes")]
#[tokio::test]
async fn a_useless_file_is_named_with_the_reason(#[case] path: &str, #[case] why: &str) {
    let (_base, secrets) = secrets();
    let message = secrets.text(path).await.unwrap_err().to_string();
    assert!(message.contains(path) && message.contains(why), "{message}");
}

#[tokio::test]
async fn a_rotated_secret_counts_at_once() {
    let (base, secrets) = secrets();
    let _ = secrets.text("a/token").await.unwrap();
    std::fs::write(base.path().join("secrets/a/token"), "new").unwrap();
    assert_eq!(secrets.text("a/token").await.unwrap().expose_secret(), "new");
}

#[tokio::test]
async fn without_a_directory_the_option_is_named() {
    let message = Secrets::default().text("token").await.unwrap_err().to_string();
    assert!(message.contains("--secrets"), "{message}");
}

/// A vault in which every Secret is `door` with the key `token`.
struct OneDoor;

#[async_trait]
impl Vault for OneDoor {
    async fn read(&self, namespace: &str, name: &str, key: &str) -> Result<SecretBox<Vec<u8>>, SecretError> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match (name.as_str(), key) {
            ("door", "token") => Ok(SecretBox::new(Box::new(format!("{namespace}\n").into_bytes()))),
            ("door", _) => Err(SecretError::NoKey { namespace, name, key: key.to_owned() }),
            _ => Err(SecretError::NotGranted { namespace, name, how: "grant it".to_owned() }),
        }
    }
}

#[rstest]
#[case("door/token", Ok("shop"))]
#[case("door/other", Err("Secret shop/door has no key `other`"))]
#[case("window/token", Err("Secret shop/window is not granted: grant it"))]
#[case("door", Err("secret `door`: in a cluster it is NAME/KEY, a key of a Secret in the namespace that refers to it"))]
#[case(
    "a/b/c",
    Err("secret `a/b/c`: in a cluster it is NAME/KEY, a key of a Secret in the namespace that refers to it")
)]
#[tokio::test]
async fn in_a_cluster_a_reference_is_a_key_of_a_secret_of_ones_own(
    #[case] path: &str,
    #[case] expected: Result<&str, &str>,
) {
    let secrets = Secrets::in_cluster(Arc::new(OneDoor)).of("shop");
    let read = secrets.text(path).await;
    let told = read.as_ref().map(ExposeSecret::expose_secret).map_err(ToString::to_string);
    assert_eq!(told, expected.map_err(str::to_owned));
}

#[tokio::test]
async fn who_has_no_namespace_gets_no_secret_of_a_cluster() {
    let error = Secrets::in_cluster(Arc::new(OneDoor)).text("door/token").await.unwrap_err();
    assert_eq!(error, SecretError::NoReference("door/token".to_owned()));
}

#[test]
fn a_sentence_about_a_grant_is_known_again() {
    let error = SecretError::NotGranted { namespace: "shop".into(), name: "door".into(), how: "so".into() };
    assert!(SecretError::tells_not_granted(&error.to_string()));
    assert!(!SecretError::tells_not_granted("Secret shop/door does not exist"));
}

#[test]
fn a_secret_that_is_repeated_is_hidden() {
    let secrets = ["s3cret".into(), "other".into(), "".into()];
    assert_eq!(&*hide(b"s3cret, other, s3cret!", &secrets), b"[hidden], [hidden], [hidden]!");
    assert_eq!(&*hide(b"nothing", &secrets), b"nothing");
}
