//! Creating a task: everything that can be found wrong before it runs is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tracing::info;
use uuid::Uuid;

use super::csv;
use super::error::BatchLoadError;
use super::model::DataModel;
use super::report::Mistakes;
use super::task::{DataModelS3Configuration, Definition, File, Progress, TaskState, TaskStatus};
use super::{BatchLoads, RunningTask, Stopped};
use crate::record::DEFAULT_VERSION;
use crate::store::PartitionKeyItem;

/// Tasks of one table that may wait or load (spec 5.4).
const ACTIVE_PER_TABLE: usize = 5;
/// Tasks that may wait or load (spec 5.4).
const ACTIVE: usize = 10;
/// Files of a task (spec 5.4).
const FILES_MAX: usize = 100;
/// Objects that are looked at for a task, the empty ones too.
const LISTED_MAX: usize = 1_000;
/// Bytes of a file (spec 5.4).
const FILE_BYTES_MAX: u64 = 5 << 30;
/// Bytes of all files of a task (spec 5.4).
const TASK_BYTES_MAX: u64 = 100 << 30;
/// Bytes of a data model in a bucket, and of a definition.
const DEFINITION_BYTES_MAX: usize = 256 << 10;

impl BatchLoads {
    /// Creates a task and has it wait for its turn. Returns its id; that of the one there is when the client
    /// token was used before.
    ///
    /// # Errors
    /// When the definition is wrong, names what is not there, or there are too many tasks.
    pub async fn create(&self, mut definition: Definition) -> Result<String, BatchLoadError> {
        if let Some(known) = self.known(&definition)? {
            return Ok(known);
        }
        let given = definition.clone();
        definition.check()?;
        let table = self
            .inner
            .loader
            .store
            .describe_table(&definition.target_database_name, &definition.target_table_name)?;
        let mut model = self.model(&definition).await?;
        let mapping = model.check().map_err(BatchLoadError::invalid)?;
        for key in &table.partition_key.0 {
            if let PartitionKeyItem::Dimension { name, required: true } = key
                && !mapping.dimensions.iter().any(|dimension| *dimension.name == **name)
            {
                return Err(BatchLoadError::Invalid(format!(
                    "The dimension '{name}' must be mapped: the partition key of the table requires it."
                )));
            }
        }
        model.fill_in();
        if let Some(inline) =
            definition.data_model_configuration.as_mut().and_then(|it| it.data_model.as_mut())
        {
            inline.fill_in();
        }
        definition.record_version.get_or_insert(DEFAULT_VERSION);
        let files = self.files(&definition).await?;
        if let Some(report) = &definition.report_configuration.report_s3_configuration {
            self.inner.loader.buckets.open_for_reports(&report.bucket_name, &report.encryption()).await?;
        }
        let now = self.inner.loader.now();
        let state = TaskState {
            definition,
            model,
            status: TaskStatus::Created,
            created: now,
            updated: now,
            resumable_until: None,
            error: None,
            files,
            files_done: 0,
            etag: None,
            place: csv::Place::default(),
            progress: Progress::default(),
            mistakes: Mistakes::default(),
        };
        self.admit(&given, state).await
    }

    /// Enters a checked task among the others.
    async fn admit(&self, given: &Definition, state: TaskState) -> Result<String, BatchLoadError> {
        let id = Uuid::new_v4().simple().to_string().to_uppercase();
        let task = Arc::new(RunningTask { id: id.clone(), state: Mutex::new(state) });
        {
            let mut tasks = self.tasks();
            // Another request with the same token may have come first meanwhile.
            if let Some(known) = known(&tasks, given)? {
                return Ok(known);
            }
            check_quotas(&tasks, given)?;
            tasks.insert(id.clone(), Arc::clone(&task));
        }
        if let Err(Stopped::Pause(reason)) = self.inner.loader.note(&task).await {
            self.tasks().remove(&id);
            return Err(BatchLoadError::Unavailable(reason));
        }
        info!(task = id, "batch load task created");
        self.start(task);
        self.forget_old().await;
        Ok(id)
    }

    fn known(&self, definition: &Definition) -> Result<Option<String>, BatchLoadError> {
        known(&self.tasks(), definition)
    }

    async fn model(&self, definition: &Definition) -> Result<DataModel, BatchLoadError> {
        let configuration = definition.data_model_configuration.as_ref();
        let inline = configuration.and_then(|configuration| configuration.data_model.as_ref());
        let place =
            configuration.and_then(|configuration| configuration.data_model_s3_configuration.as_ref());
        match (inline, place) {
            (Some(model), None) => Ok(model.clone()),
            (None, Some(DataModelS3Configuration { bucket_name: Some(bucket), object_key: Some(key) })) => {
                let bucket = self.inner.loader.buckets.open(bucket).await?;
                let json = bucket.get(key, DEFINITION_BYTES_MAX as u64).await?;
                DataModel::read(&json).map_err(BatchLoadError::invalid)
            }
            (None, Some(_)) => Err(BatchLoadError::Invalid(
                "DataModelS3Configuration must specify BucketName and ObjectKey.".to_owned(),
            )),
            _ => Err(BatchLoadError::Invalid(
                "Exactly one of DataModel and DataModelS3Configuration must be specified.".to_owned(),
            )),
        }
    }

    /// The files a task will load. What is added later is not loaded.
    async fn files(&self, definition: &Definition) -> Result<Vec<File>, BatchLoadError> {
        let source = &definition.data_source_configuration.data_source_s3_configuration;
        let prefix = source.object_key_prefix.as_deref().unwrap_or_default();
        let place = format!("s3://{}/{prefix}", source.bucket_name);
        let bucket = self.inner.loader.buckets.open(&source.bucket_name).await?;
        let mut listed = bucket.list(prefix, LISTED_MAX + 1).await?;
        let all = listed.len() <= LISTED_MAX;
        // Empty objects stand for folders in some tools.
        listed.retain(|object| object.size > 0);
        let total = listed.iter().map(|object| object.size).sum::<u64>();
        if listed.is_empty() {
            return Err(BatchLoadError::Invalid(format!("There is no file to load at {place}.")));
        }
        if listed.len() > FILES_MAX || !all {
            return Err(BatchLoadError::Invalid(format!(
                "There are more than {FILES_MAX} files at {place}; a task loads at most so many."
            )));
        }
        if let Some(large) = listed.iter().find(|object| object.size > FILE_BYTES_MAX) {
            return Err(BatchLoadError::Invalid(format!(
                "The file {} has {} bytes; a file may have at most {FILE_BYTES_MAX}.",
                large.key, large.size
            )));
        }
        if total > TASK_BYTES_MAX {
            return Err(BatchLoadError::Invalid(format!(
                "The files at {place} have {total} bytes together; a task loads at most {TASK_BYTES_MAX}."
            )));
        }
        Ok(listed.into_iter().map(|object| File { key: object.key, size: object.size }).collect())
    }
}

/// The task that was created with the definition's client token.
fn known(
    tasks: &HashMap<String, Arc<RunningTask>>,
    definition: &Definition,
) -> Result<Option<String>, BatchLoadError> {
    let Some(token) = &definition.client_token else { return Ok(None) };
    let mut same = tasks
        .values()
        .filter(|task| task.read(|state| state.definition.client_token.as_ref() == Some(token)));
    match same.next() {
        None => Ok(None),
        Some(task) if task.read(|state| state.definition.is_for_same(definition)) => {
            Ok(Some(task.id.clone()))
        }
        Some(task) => Err(BatchLoadError::Conflict(format!(
            "The client token was used for the batch load task {} with other parameters.",
            task.id
        ))),
    }
}

fn check_quotas(
    tasks: &HashMap<String, Arc<RunningTask>>,
    definition: &Definition,
) -> Result<(), BatchLoadError> {
    let active = tasks.values().filter(|task| task.read(|state| state.status.is_active()));
    let of_table = active.clone().filter(|task| {
        task.read(|state| {
            state.definition.target_database_name == definition.target_database_name
                && state.definition.target_table_name == definition.target_table_name
        })
    });
    let quota = |max: usize, of: &str| {
        Err(BatchLoadError::Quota(format!(
            "There are {max} active batch load tasks {of} already, which is the most; wait until one has ended."
        )))
    };
    if active.count() >= ACTIVE {
        return quota(ACTIVE, "in the account");
    }
    if of_table.count() >= ACTIVE_PER_TABLE {
        return quota(ACTIVE_PER_TABLE, "for the table");
    }
    Ok(())
}

impl Definition {
    /// Checks what concerns nothing but the definition.
    fn check(&self) -> Result<(), BatchLoadError> {
        let invalid = |text: &str| Err(BatchLoadError::Invalid(text.to_owned()));
        let size = serde_json::to_vec(self).map_or(usize::MAX, |json| json.len());
        if size > DEFINITION_BYTES_MAX {
            return invalid(&format!(
                "The definition has {size} bytes; at most {DEFINITION_BYTES_MAX} are kept."
            ));
        }
        if self.record_version.is_some_and(|version| version < 1) {
            return invalid("RecordVersion must be at least 1.");
        }
        if let Some(csv) = &self.data_source_configuration.csv_configuration {
            csv.check().map_err(BatchLoadError::Invalid)?;
        }
        match &self.report_configuration.report_s3_configuration {
            Some(report)
                if report.kms_key_id.is_some() && report.encryption_option.as_deref() != Some("SSE_KMS") =>
            {
                invalid("KmsKeyId requires the EncryptionOption SSE_KMS.")
            }
            _ => Ok(()),
        }
    }

    /// Whether `other` asks for the same, before or after defaults were filled in.
    fn is_for_same(&self, other: &Self) -> bool {
        let filled = |definition: &Self| {
            let mut definition = definition.clone();
            definition.record_version.get_or_insert(DEFAULT_VERSION);
            let model = definition.data_model_configuration.as_mut();
            if let Some(model) = model.and_then(|model| model.data_model.as_mut()) {
                model.fill_in();
            }
            definition
        };
        filled(self) == filled(other)
    }
}
