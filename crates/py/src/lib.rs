//! `ostiary._core`: the only crate that knows Python, and thin. The contract is `src/ostiary/_core.pyi`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ostiary_core::audit::SegmentReport;
use ostiary_core::epoch::{self, Epoch};
use ostiary_core::facts::Facts;
use ostiary_core::json::{self, Limits, Object, Value};
use ostiary_core::policy::Memory;
use ostiary_core::snapshot;
use ostiary_proxy::{gateway, journal, revocations::Revocations, secrets::Secrets};
use pyo3::create_exception;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// A call allocates a few hundred times: with the system's allocator it costs a quarter more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

create_exception!(_core, SnapshotError, PyValueError, "The bytes do not compile to a snapshot.");
create_exception!(_core, JournalError, PyOSError, "A record cannot be written.");

/// How long one wait may last before signals are looked at, so that Ctrl-C is prompt.
const SLICE: Duration = Duration::from_millis(100);

fn snapshot_error(py: Python<'_>, error: &snapshot::SnapshotError) -> PyErr {
    let raised = SnapshotError::new_err(error.to_string());
    let value = raised.value(py);
    // Setting two attributes on a fresh exception instance cannot fail short of memory running out.
    let _ = value.setattr("path", &error.path);
    let _ = value.setattr("message", &error.message);
    raised
}

/// All that the data plane knows, compiled and immutable.
#[pyclass(frozen, module = "ostiary._core")]
#[derive(Debug)]
struct Snapshot(Arc<snapshot::Snapshot>);

#[pymethods]
impl Snapshot {
    #[new]
    fn new(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let compiled = py.detach(|| snapshot::Snapshot::compile(data));
        compiled.map(|s| Self(Arc::new(s))).map_err(|error| snapshot_error(py, &error))
    }

    #[getter]
    fn digest(&self) -> &str {
        &self.0.digest
    }

    #[pyo3(signature = (facts, *, memory = false))]
    fn decide(&self, py: Python<'_>, facts: &str, memory: bool) -> PyResult<String> {
        py.detach(|| {
            let parsed = json::parse(facts.as_bytes(), &Limits::DEFAULT)
                .map_err(|error| PyValueError::new_err(format!("facts: {error}")))?;
            let facts = Facts::from_json(&parsed, Some(&self.0))
                .map_err(|error| PyValueError::new_err(format!("facts: {error}")))?;
            let decision = self.0.decide(&facts, if memory { Memory::On } else { Memory::Off });
            let answer = self.0.explain_decision(&facts, &decision);
            let mut out = Vec::new();
            json::write(&answer, &mut out);
            String::from_utf8(out).map_err(|error| PyValueError::new_err(error.to_string()))
        })
    }
}

/// The audit log of this process: one folder, one chain.
#[pyclass(frozen, module = "ostiary._core")]
#[derive(Debug)]
struct Journal(Arc<journal::Journal>);

fn journal_error(error: &journal::JournalError) -> PyErr {
    JournalError::new_err(error.to_string())
}

#[pymethods]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands a path over by value")]
impl Journal {
    #[new]
    #[pyo3(signature = (dir, gateway, signing_key = None))]
    fn new(py: Python<'_>, dir: PathBuf, gateway: &str, signing_key: Option<&str>) -> PyResult<Self> {
        let signer = signing_key.map(ostiary_proxy::secrets::signing_key).transpose();
        let signer = signer.map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.detach(|| journal::Journal::open(&dir, gateway, signer))
            .map(|opened| Self(Arc::new(opened)))
            .map_err(|error| journal_error(&error))
    }

    fn append(&self, py: Python<'_>, record: &str) -> PyResult<String> {
        py.detach(|| self.0.append_control(record)).map_err(|error| journal_error(&error))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.close()).map_err(|error| journal_error(&error))
    }
}

/// The running data plane.
#[pyclass(frozen, module = "ostiary._core")]
#[derive(Debug)]
struct Gateway(gateway::Gateway);

fn read_secrets(text: &str) -> PyResult<Secrets> {
    Secrets::read(text).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn read_epochs(text: &str) -> PyResult<Vec<Epoch>> {
    epoch::read(text).map_err(|error| PyValueError::new_err(format!("epochs: {error}")))
}

#[pymethods]
impl Gateway {
    #[new]
    #[pyo3(signature = (listen, snapshot, secrets, journal, *, threads = 2, epochs = "[]", control = None, patience = 0.0))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of a constructor in Python")]
    fn new(
        py: Python<'_>,
        listen: &str,
        snapshot: &Snapshot,
        secrets: &str,
        journal: &Journal,
        threads: usize,
        epochs: &str,
        control: Option<PathBuf>,
        patience: f64,
    ) -> PyResult<Self> {
        let secrets = read_secrets(secrets)?;
        let epochs = read_epochs(epochs)?;
        let patience = Duration::try_from_secs_f64(patience)
            .map_err(|error| PyValueError::new_err(format!("patience: {error}")))?;
        let (snapshot, journal) = (Arc::clone(&snapshot.0), Arc::clone(&journal.0));
        let start = || {
            let revocations = Revocations::new(&epochs, patience);
            gateway::Gateway::start(listen, snapshot, &secrets, journal, threads, control, revocations)
        };
        py.detach(start).map(Self).map_err(|error| PyOSError::new_err(error.to_string()))
    }

    #[getter]
    fn address(&self) -> String {
        self.0.address().to_string()
    }

    fn apply(&self, py: Python<'_>, snapshot: &Snapshot, secrets: &str) -> PyResult<u64> {
        let secrets = read_secrets(secrets)?;
        let snapshot = Arc::clone(&snapshot.0);
        py.detach(|| self.0.apply(snapshot, &secrets)).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn revoke(&self, py: Python<'_>, epochs: &str) -> PyResult<()> {
        let epochs = read_epochs(epochs)?;
        py.detach(|| self.0.revoke(&epochs));
        Ok(())
    }

    fn uses(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.uses())
    }

    fn events(&self, py: Python<'_>, timeout: f64) -> PyResult<Vec<String>> {
        let mut left = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
        loop {
            let slice = left.min(SLICE);
            let events = py.detach(|| self.0.events(slice));
            left = left.saturating_sub(slice);
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            py.check_signals()?;
        }
    }

    fn stats(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.0.stats().into_iter().collect()
    }

    fn stop(&self, py: Python<'_>, grace: f64) -> bool {
        let grace = Duration::try_from_secs_f64(grace.max(0.0)).unwrap_or(Duration::MAX);
        py.detach(|| self.0.stop(grace))
    }
}

fn report_json(report: &SegmentReport) -> String {
    let text = |hash: &Option<String>| hash.as_deref().map_or(Value::Null, Value::from);
    let count = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let bad = report.bad.as_ref().map_or(Value::Null, |bad| {
        let mut object = Object::new();
        object.insert("index", count(bad.index));
        object.insert("why", bad.why.into());
        Value::Object(object)
    });
    let mut object = Object::new();
    object.insert("records", count(report.records));
    object.insert("first_prev", text(&report.first_prev));
    object.insert("last_hash", text(&report.last_hash));
    object.insert("torn", report.torn.into());
    object.insert("checkpoints", count(report.checkpoints));
    object.insert("bad", bad);
    let mut out = Vec::new();
    json::write(&Value::Object(object), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads one segment to its end and says whether its chain holds.
#[pyfunction]
#[pyo3(signature = (path, prev = None))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands a path over by value")]
fn read_segment(py: Python<'_>, path: PathBuf, prev: Option<&str>) -> PyResult<String> {
    py.detach(|| journal::read_segment(&path, prev))
        .map(|report| report_json(&report))
        .map_err(|error| PyOSError::new_err(format!("{}: {error}", path.display())))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("SnapshotError", module.py().get_type::<SnapshotError>())?;
    module.add("JournalError", module.py().get_type::<JournalError>())?;
    module.add_class::<Snapshot>()?;
    module.add_class::<Journal>()?;
    module.add_class::<Gateway>()?;
    module.add_function(wrap_pyfunction!(read_segment, module)?)
}
