use super::*;
use crate::merge::MergeError;

fn failure(container: &str, ignore_failure: bool) -> Failure {
    let container_id = container.to_owned();
    let update = ContainerUpdate { container_id, linux: None, ignore_failure };
    let error = MergeError::TooMany { plugin: container.to_owned() }.into();
    Failure { update, error }
}

#[tokio::test]
async fn the_first_failure_that_counts_is_told() {
    let (batch, pending) = Batch::new(Vec::new(), None);
    batch
        .reply
        .send(vec![failure("allowed", true), failure("first", false), failure("second", false)])
        .unwrap();
    let error = pending.done().await.unwrap_err().to_string();
    assert!(error.contains("first"), "{error}");
    let (batch, pending) = Batch::new(Vec::new(), None);
    batch.reply.send(vec![failure("allowed", true)]).unwrap();
    pending.done().await.unwrap();
    Pending::nothing().done().await.unwrap();
}

#[tokio::test]
async fn changes_that_are_never_made_have_failed() {
    let (batch, pending) = Batch::new(Vec::new(), None);
    drop(batch);
    assert!(matches!(pending.done().await, Err(NriError::Ended)));
}
