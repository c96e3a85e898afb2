// Provider is a provider of AWS for tests: the resources of version 4.9 of hashicorp/aws, the newest that
// is a Go module, under the names that their attributes have in version 6. It is the one place
// that adapts what tenon writes to the old version, see docs/aws.md.
package main

import (
	"context"
	"os"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
	"github.com/hashicorp/terraform-provider-aws/conns"
	"github.com/hashicorp/terraform-provider-aws/names"
	"github.com/hashicorp/terraform-provider-aws/service/batch"
	"github.com/hashicorp/terraform-provider-aws/service/budgets"
	"github.com/hashicorp/terraform-provider-aws/service/cloudwatch"
	"github.com/hashicorp/terraform-provider-aws/service/cloudwatchlogs"
	"github.com/hashicorp/terraform-provider-aws/service/ec2"
	"github.com/hashicorp/terraform-provider-aws/service/ecr"
	"github.com/hashicorp/terraform-provider-aws/service/iam"
	"github.com/hashicorp/terraform-provider-aws/service/lambda"
	"github.com/hashicorp/terraform-provider-aws/service/meta"
	"github.com/hashicorp/terraform-provider-aws/service/s3"
	"github.com/hashicorp/terraform-provider-aws/service/sagemaker"
	"github.com/hashicorp/terraform-provider-aws/service/secretsmanager"
	"github.com/hashicorp/terraform-provider-aws/service/sns"
	"github.com/hashicorp/terraform-provider-aws/service/sts"
	tftags "github.com/hashicorp/terraform-provider-aws/tags"
)

func main() { plugin.Serve(&plugin.ServeOpts{ProviderFunc: provider}) }

func provider() *schema.Provider {
	text := &schema.Schema{Type: schema.TypeString}
	p := &schema.Provider{
		Schema: map[string]*schema.Schema{
			"region":              {Type: schema.TypeString, Required: true},
			"allowed_account_ids": {Type: schema.TypeSet, Elem: text, Optional: true},
			"default_tags": {
				Type: schema.TypeList, Optional: true, MaxItems: 1,
				Elem: &schema.Resource{Schema: map[string]*schema.Schema{"tags": {Type: schema.TypeMap, Elem: text, Optional: true}}},
			},
		},
		DataSourcesMap: map[string]*schema.Resource{
			"aws_availability_zones": ec2.DataSourceAvailabilityZones(),
			"aws_caller_identity":    sts.DataSourceCallerIdentity(),
			"aws_ecr_repository":     ecr.DataSourceRepository(),
			"aws_partition":          meta.DataSourcePartition(),
			"aws_subnet":             ec2.DataSourceSubnet(),
			"aws_vpc":                ec2.DataSourceVPC(),
		},
		ResourcesMap: map[string]*schema.Resource{
			"aws_batch_compute_environment":                      computeEnvironment(),
			"aws_batch_job_definition":                           batch.ResourceJobDefinition(),
			"aws_batch_job_queue":                                jobQueue(),
			"aws_budgets_budget":                                 budgets.ResourceBudget(),
			"aws_cloudwatch_log_group":                           cloudwatchlogs.ResourceGroup(),
			"aws_cloudwatch_metric_alarm":                        cloudwatch.ResourceMetricAlarm(),
			"aws_ecr_repository":                                 ecr.ResourceRepository(),
			"aws_iam_role":                                       iam.ResourceRole(),
			"aws_iam_role_policy":                                iam.ResourceRolePolicy(),
			"aws_internet_gateway":                               ec2.ResourceInternetGateway(),
			"aws_lambda_function":                                lambda.ResourceFunction(),
			"aws_lambda_function_url":                            lambda.ResourceFunctionUrl(),
			"aws_route":                                          ec2.ResourceRoute(),
			"aws_route_table":                                    ec2.ResourceRouteTable(),
			"aws_route_table_association":                        ec2.ResourceRouteTableAssociation(),
			"aws_s3_bucket":                                      s3.ResourceBucket(),
			"aws_s3_bucket_lifecycle_configuration":              s3.ResourceBucketLifecycleConfiguration(),
			"aws_s3_bucket_ownership_controls":                   s3.ResourceBucketOwnershipControls(),
			"aws_s3_bucket_policy":                               s3.ResourceBucketPolicy(),
			"aws_s3_bucket_public_access_block":                  s3.ResourceBucketPublicAccessBlock(),
			"aws_s3_bucket_server_side_encryption_configuration": s3.ResourceBucketServerSideEncryptionConfiguration(),
			"aws_s3_bucket_versioning":                           s3.ResourceBucketVersioning(),
			"aws_s3_object":                                      s3.ResourceObject(),
			"aws_sagemaker_endpoint":                             sagemaker.ResourceEndpoint(),
			"aws_sagemaker_endpoint_configuration":               sagemaker.ResourceEndpointConfiguration(),
			"aws_sagemaker_model":                                sagemaker.ResourceModel(),
			"aws_secretsmanager_secret":                          secretsmanager.ResourceSecret(),
			"aws_security_group":                                 ec2.ResourceSecurityGroup(),
			"aws_sns_topic":                                      sns.ResourceTopic(),
			"aws_sns_topic_policy":                               sns.ResourceTopicPolicy(),
			"aws_sns_topic_subscription":                         sns.ResourceTopicSubscription(),
			"aws_subnet":                                         ec2.ResourceSubnet(),
			"aws_vpc":                                            ec2.ResourceVPC(),
			"aws_vpc_endpoint":                                   ec2.ResourceVPCEndpoint(),
		},
	}
	p.ConfigureContextFunc = func(ctx context.Context, d *schema.ResourceData) (any, diag.Diagnostics) {
		return configure(ctx, d, p.TerraformVersion)
	}
	return p
}

// configure connects to the endpoint in AWS_ENDPOINT_URL, which version 4.9 does not know.
func configure(ctx context.Context, d *schema.ResourceData, tool string) (any, diag.Diagnostics) {
	c := conns.Config{
		Region: d.Get("region").(string), MaxRetries: 2, S3UsePathStyle: true, SkipGetEC2Platforms: true, SkipMetadataApiCheck: true,
		TerraformVersion: tool, Endpoints: map[string]string{},
	}
	for _, service := range names.ServiceKeys() {
		c.Endpoints[service] = os.Getenv("AWS_ENDPOINT_URL")
	}
	for _, id := range d.Get("allowed_account_ids").(*schema.Set).List() {
		c.AllowedAccountIds = append(c.AllowedAccountIds, id.(string))
	}
	if l := d.Get("default_tags").([]any); len(l) > 0 && l[0] != nil {
		c.DefaultTagsConfig = &tftags.DefaultConfig{Tags: tftags.New(l[0].(map[string]any)["tags"].(map[string]any))}
	}
	return c.Client(ctx)
}

// computeEnvironment has `name` for `compute_environment_name`.
func computeEnvironment() *schema.Resource {
	r := batch.ResourceComputeEnvironment()
	old := "compute_environment_name"
	r.Schema["name"] = &schema.Schema{Type: schema.TypeString, Optional: true, ForceNew: true}
	r.Schema[old].ForceNew = false // `name` decides
	translate(r, func(d *schema.ResourceData) error { return d.Set(old, d.Get("name")) },
		func(d *schema.ResourceData) error { return d.Set("name", d.Get(old)) })
	return r
}

// jobQueue has blocks `compute_environment_order` for the list `compute_environments`. Of blocks
// `job_state_time_limit_action`, which version 4.9 lacks, it only keeps a record.
func jobQueue() *schema.Resource {
	r := batch.ResourceJobQueue()
	text, number := &schema.Schema{Type: schema.TypeString, Required: true}, &schema.Schema{Type: schema.TypeInt, Required: true}
	block := func(fields map[string]*schema.Schema) *schema.Schema {
		return &schema.Schema{Type: schema.TypeList, Optional: true, Elem: &schema.Resource{Schema: fields}}
	}
	r.Schema["compute_environment_order"] = block(map[string]*schema.Schema{"order": number, "compute_environment": text})
	r.Schema["job_state_time_limit_action"] = block(map[string]*schema.Schema{"action": text, "max_time_seconds": number, "reason": text, "state": text})
	old := r.Schema["compute_environments"]
	old.Required, old.Optional, old.Computed = false, true, true
	translate(r, func(d *schema.ResourceData) error {
		var all []any
		for _, b := range d.Get("compute_environment_order").([]any) {
			all = append(all, b.(map[string]any)["compute_environment"])
		}
		return d.Set("compute_environments", all)
	}, func(d *schema.ResourceData) error {
		var all []any
		for i, arn := range d.Get("compute_environments").([]any) {
			all = append(all, map[string]any{"order": i + 1, "compute_environment": arn})
		}
		return d.Set("compute_environment_order", all)
	})
	return r
}

// translate sets the attributes of version 4.9 before they are sent, and those of version 6 after
// they were read.
func translate(r *schema.Resource, send, read func(*schema.ResourceData) error) {
	create, update, look := r.Create, r.Update, r.Read
	r.Create = func(d *schema.ResourceData, to any) error {
		if err := send(d); err != nil {
			return err
		}
		if err := create(d, to); err != nil {
			return err
		}
		return read(d)
	}
	r.Update = func(d *schema.ResourceData, to any) error {
		if err := send(d); err != nil {
			return err
		}
		if err := update(d, to); err != nil {
			return err
		}
		return read(d)
	}
	r.Read = func(d *schema.ResourceData, from any) error {
		if err := look(d, from); err != nil || d.Id() == "" {
			return err
		}
		return read(d)
	}
}
