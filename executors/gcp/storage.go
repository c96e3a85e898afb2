package gcp

import (
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// storage writes the bucket for artifacts. It is versioned, all of its rights are those of IAM, and
// nothing in it can be made public. Google encrypts everything.
func (w *writer) storage() {
	f := w.file("storage.tf")
	l := f.Block("locals")
	if w.Existing.Bucket != "" {
		l.Set("bucket", terraform.Text(w.Existing.Bucket))
	} else {
		l.Set("bucket", terraform.Code("google_storage_bucket.artifacts.name"))
	}
	l.Set("root", terraform.Text(w.root))
	l.Set("objects", terraform.Join("projects/_/buckets/", terraform.Code("local.bucket"), "/objects/", terraform.Code("local.root")))
	if w.Existing.Bucket != "" {
		return
	}
	b := f.Resource("google_storage_bucket", "artifacts")
	b.Set("name", terraform.Join(w.prefix+"-", terraform.Code("var.project")))
	b.Set("location", terraform.Code("var.region"))
	b.Set("uniform_bucket_level_access", terraform.Bool(true))
	b.Set("public_access_prevention", terraform.Text("enforced"))
	b.Block("versioning").Set("enabled", terraform.Bool(true))
	rule := b.Block("lifecycle_rule")
	rule.Block("action").Set("type", terraform.Text("AbortIncompleteMultipartUpload"))
	rule.Block("condition").Set("age", terraform.Int(7))
	enabled(b)
}

// images writes the repository for the images of units. All units of a system share it, because
// their images share layers; images have code, and neither data nor secrets. The service agents of
// Cloud Run and Vertex AI pull from it, and not the accounts of units.
func (w *writer) images() {
	f := w.file("images.tf")
	if len(w.units) == 0 || w.Existing.Repository != "" {
		return
	}
	b := f.Resource("google_artifact_registry_repository", "images")
	b.Set("repository_id", terraform.Text(w.repository()))
	b.Set("location", terraform.Code("var.region"))
	b.Set("format", terraform.Text("DOCKER"))
	b.Set("description", terraform.Text("Images of the units of "+w.sys.Name))
	b.Block("docker_config").Set("immutable_tags", terraform.Bool(true))
	enabled(b)
}

// secrets writes a secret for each variable that units read and that does not exist. Their
// values are set by other means, so that they are in no file and no state.
func (w *writer) secrets() {
	f := w.file("secrets.tf")
	for _, variable := range w.made() {
		b := f.Resource("google_secret_manager_secret", variable)
		b.Set("secret_id", terraform.Text(w.secretID(variable)))
		b.Block("replication").Block("user_managed").Block("replicas").Set("location", terraform.Code("var.region"))
		enabled(b)
	}
}

// made returns the variables of secrets that do not exist, sorted.
func (w *writer) made() []string {
	return cloud.Secrets(w.units, w.accessOf, func(variable string) bool { return w.Existing.Secrets[variable] == "" })
}

// secretID returns the id of a secret that is made. Ids ignore nothing, and have at most 255
// characters.
func (w *writer) secretID(variable string) string { return cloud.Fit(w.prefix+"-"+variable, 255) }

// secret returns the name of a secret.
func (w *writer) secret(variable string) terraform.Expr {
	if at := w.Existing.Secrets[variable]; at != "" {
		return terraform.Text(at)
	}
	return cloud.Reference("google_secret_manager_secret", variable, "id")
}

// logs writes a bucket of Cloud Logging with the retention of the target, and what copies the log of
// jobs and services into it.
func (w *writer) logs() {
	f := w.file("logs.tf")
	if !w.any(onJob) && !w.any(onService) {
		return
	}
	b := f.Resource("google_logging_project_bucket_config", "units")
	b.Set("project", terraform.Code("var.project"))
	b.Set("location", terraform.Code("var.region"))
	b.Set("bucket_id", terraform.Text(w.prefix))
	b.Set("description", terraform.Text("Logs of "+cloud.Environment(w.sys)))
	b.Set("retention_days", terraform.Code("var.log_retention_days"))
	enabled(b)
	b = f.Resource("google_logging_project_sink", "units")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("destination", terraform.Join("logging.googleapis.com/", cloud.Reference("google_logging_project_bucket_config", "units", "id")))
	b.Set("filter", terraform.Text(w.logFilter()))
	b.Comment("A bucket of the same project needs no rights for it.")
	b.Set("unique_writer_identity", terraform.Bool(true))
}

// logFilter returns which entries are those of jobs and services of the system. Names of its jobs
// begin with its prefix, as those of a system with a longer prefix do.
func (w *writer) logFilter() string {
	return `(resource.type="cloud_run_job" AND resource.labels.job_name=~"^` + w.prefix + `-") OR (resource.type="cloud_run_revision" AND resource.labels.service_name=~"^` + w.prefix + `-")`
}
