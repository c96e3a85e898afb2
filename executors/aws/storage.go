package aws

import (
	"maps"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// storage writes the bucket for artifacts. It is versioned and encrypted, and nothing in it
// can be made public.
func (w *writer) storage() {
	f := w.file("storage.tf")
	l := f.Block("locals")
	if w.Existing.Bucket != "" {
		l.Set("bucket", terraform.Text(w.Existing.Bucket))
	} else {
		l.Set("bucket", terraform.Code("aws_s3_bucket.artifacts.bucket"))
	}
	l.Set("root", terraform.Text(w.root))
	l.Set("bucket_arn", terraform.Join("arn:", terraform.Code("local.partition"), ":s3:::", terraform.Code("local.bucket")))
	l.Set("root_arn", terraform.Join(terraform.Code("local.bucket_arn"), "/", terraform.Code("local.root")))
	if w.Existing.Bucket != "" {
		return
	}
	bucket := reference("aws_s3_bucket", "artifacts", "id")
	b := f.Resource("aws_s3_bucket", "artifacts")
	b.Set("bucket", terraform.Join(hyphened(w.prefix, mostBucket)+"-", terraform.Code("local.account"), "-", terraform.Code("var.region")))
	b = f.Resource("aws_s3_bucket_versioning", "artifacts")
	b.Set("bucket", bucket)
	b.Block("versioning_configuration").Set("status", terraform.Text("Enabled"))
	b = f.Resource("aws_s3_bucket_server_side_encryption_configuration", "artifacts")
	b.Set("bucket", bucket)
	b.Block("rule").Block("apply_server_side_encryption_by_default").Set("sse_algorithm", terraform.Text("AES256"))
	b = f.Resource("aws_s3_bucket_public_access_block", "artifacts")
	b.Set("bucket", bucket)
	for _, a := range []string{"block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"} {
		b.Set(a, terraform.Bool(true))
	}
	b = f.Resource("aws_s3_bucket_ownership_controls", "artifacts")
	b.Set("bucket", bucket)
	b.Block("rule").Set("object_ownership", terraform.Text("BucketOwnerEnforced"))
	b = f.Resource("aws_s3_bucket_lifecycle_configuration", "artifacts")
	b.Set("bucket", bucket)
	rule := b.Block("rule")
	rule.Set("id", terraform.Text("unfinished-uploads"))
	rule.Set("status", terraform.Text("Enabled"))
	rule.Block("filter")
	rule.Block("abort_incomplete_multipart_upload").Set("days_after_initiation", terraform.Int(7))
	b = f.Resource("aws_s3_bucket_policy", "artifacts")
	b.Set("bucket", bucket)
	b.Set("policy", policy(statement{
		id: "OnlyTLS", deny: true, principal: &principal{any: true}, actions: []string{"s3:*"},
		resources:  []terraform.Expr{terraform.Code("local.bucket_arn"), terraform.Join(terraform.Code("local.bucket_arn"), "/*")},
		conditions: []condition{{"Bool", "aws:SecureTransport", []terraform.Expr{terraform.Text("false")}}},
		comment:    "Denies every request without TLS.",
	}))
	b.Set("depends_on", terraform.List(terraform.Code("aws_s3_bucket_public_access_block.artifacts")))
}

// images writes the repository for the images of units. All units of a system share it, because
// their images share layers; images have code, and neither data nor secrets.
func (w *writer) images() {
	f := w.file("images.tf")
	if len(w.tasks()) == 0 && !w.any(onTraining) && !w.any(onSageMaker) && !w.any(onCluster) {
		return
	}
	if w.Existing.Repository != "" {
		f.Block("data", "aws_ecr_repository", "images").Set("name", terraform.Text(w.Existing.Repository))
		w.repository(f, "data.aws_ecr_repository.images")
		return
	}
	b := f.Resource("aws_ecr_repository", "images")
	b.Set("name", terraform.Text(w.imagesName()))
	b.Set("image_tag_mutability", terraform.Text("IMMUTABLE"))
	b.Block("image_scanning_configuration").Set("scan_on_push", terraform.Bool(true))
	b.Block("encryption_configuration").Set("encryption_type", terraform.Text("AES256"))
	w.repository(f, "aws_ecr_repository.images")
}

// imagesName returns the name of the repository that is made.
func (w *writer) imagesName() string {
	if w.Cluster.Service == EKS {
		return w.prefix + clouds.ClusterRepository
	}
	return w.prefix
}

func (w *writer) repository(f *terraform.File, from string) {
	l := f.Block("locals")
	l.Set("repository_arn", terraform.Code(from+".arn"))
	l.Set("repository_url", terraform.Code(from+".repository_url"))
}

// logs writes the log groups. All training jobs of an account share the one of SageMaker.
func (w *writer) logs() {
	f := w.file("logs.tf")
	for _, u := range w.units {
		group := w.logGroup(u)
		if group == "" {
			continue
		}
		b := f.Resource("aws_cloudwatch_log_group", w.placed(u))
		b.Set("name", terraform.Text(group))
		b.Set("retention_in_days", terraform.Code("var.log_retention_days"))
		tagged(b, u)
	}
}

// logGroup returns the name of a unit's own log group, or "".
func (w *writer) logGroup(u *ir.Unit) string {
	switch w.place(u) {
	case onBatch, onFargate, onSchedule:
		return "/" + w.root + "/" + label(u.ID)
	case onLambda:
		return "/aws/lambda/" + w.function(u)
	case onSageMaker:
		return endpointGroup + w.endpoint(u)
	case onTenon, onTraining, onCluster:
	}
	return ""
}

// secrets writes a secret for each variable that units read and that does not exist. Their
// values are set by other means, so that they are in no file and no state.
func (w *writer) secrets() {
	f := w.file("secrets.tf")
	for _, variable := range w.made() {
		b := f.Resource("aws_secretsmanager_secret", variable)
		b.Set("name", terraform.Text(w.root+"/"+variable))
		b.Set("description", terraform.Text("The value of "+variable+", which `aws secretsmanager put-secret-value` sets."))
	}
}

// made returns the variables of secrets that do not exist, sorted.
func (w *writer) made() []string {
	return clouds.Secrets(w.units, w.access, func(variable string) bool { return w.Existing.Secrets[variable] == "" })
}

// secret returns the ARN of a secret.
func (w *writer) secret(variable string) terraform.Expr {
	if at := w.Existing.Secrets[variable]; at != "" {
		return terraform.Text(at)
	}
	return reference("aws_secretsmanager_secret", variable, "arn")
}
