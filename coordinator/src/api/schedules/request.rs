//! A schedule as a client asks for it.

use rejoin_shared::ids::{Namespace, is_name};

use crate::api::Api;
use crate::api::extract::{Body, Fields, wrong_member};
use crate::api::problem::{Code, DocumentError, Problem};
use crate::api::start::{tags, version};
use crate::services::schedules::spec::{Overlap, Spec};
use crate::services::schedules::timing::{Timing, TimingError};

impl Api {
    /// Reads and checks a schedule; its name stands in the body, or in the address (`named`).
    ///
    /// # Errors
    /// 422 that names the member.
    pub(super) async fn asked(
        &self,
        namespace: &Namespace,
        named: Option<String>,
        body: &Body,
    ) -> Result<(String, Spec, Timing), Problem> {
        let (name, spec) = self.spec(named, body)?;
        let timing = Timing::of(&spec).map_err(mistimed)?;
        self.check_start(namespace, &spec).await?;
        Ok((name, spec, timing))
    }

    fn spec(&self, named: Option<String>, body: &Body) -> Result<(String, Spec), Problem> {
        let mut fields = Fields::of(&body.object()?);
        let name = name(named, fields.take_text("name")?)?;
        let workflow = fields.take_text("workflow")?;
        let spec = Spec {
            workflow: workflow.ok_or_else(|| wrong_member("workflow", "member workflow is missing: what it starts"))?,
            version: fields.take_some("version").map(|v| version(&v)).transpose()?,
            input: self.input(fields.take("input"))?,
            cron: fields.take_text("cron")?,
            every: fields.take_text("every")?,
            timezone: fields.take_text("timezone")?.unwrap_or_else(|| "UTC".to_owned()),
            overlap: fields
                .take_text("overlap")?
                .map_or(Ok(Overlap::default()), |o| overlap(&o))?,
            catch_up: fields.take_text("catch_up")?.unwrap_or_else(|| "0s".to_owned()),
            tags: fields
                .take_some("tags")
                .map(|v| tags(&v))
                .transpose()?
                .unwrap_or_default(),
        };
        fields.end()?;
        Ok((name, spec))
    }

    /// Whether it could start now: a mistake is better told to whoever makes the schedule.
    async fn check_start(&self, namespace: &Namespace, spec: &Spec) -> Result<(), Problem> {
        let known = self
            .definitions
            .get(&*self.store, namespace, &spec.workflow, spec.version);
        let known = known.await.map_err(|problem| match problem.code() == Code::NotFound {
            true => wrong_member("workflow", format!("member workflow: {}", problem.detail())),
            false => problem,
        })?;
        known.check_input(&spec.input)
    }
}

fn name(named: Option<String>, in_body: Option<String>) -> Result<String, Problem> {
    let name = match (named, in_body) {
        (Some(address), Some(body)) if address != body => {
            let detail = format!("member name is {body:?}, but the address names {address:?}");
            return Err(wrong_member("name", detail));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(wrong_member("name", "member name is missing")),
    };
    match is_name(&name) {
        true => Ok(name),
        false => {
            let detail =
                format!("member name: a letter, then letters, digits, _ and -, at most 64 characters, not {name:?}");
            Err(wrong_member("name", detail))
        }
    }
}

fn overlap(name: &str) -> Result<Overlap, Problem> {
    let policy = Overlap::from_name(name);
    let detail = || format!("member overlap must be {}, not {name:?}", Overlap::NAMES);
    policy.ok_or_else(|| wrong_member("overlap", detail()))
}

fn mistimed(error: TimingError) -> Problem {
    let place = DocumentError {
        pointer: format!("/{}", error.member),
        line: error.column.map(|_| 1),
        column: error.column,
        code: "bad_value".into(),
        message: error.message.clone(),
        suggestion: None,
    };
    Problem::new(Code::InvalidRequest, error.to_string()).with_errors(vec![place])
}
