package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// What is called in AWS, for which the credentials need the rights.
type (
	batchAPI interface {
		RegisterJobDefinition(context.Context, *batch.RegisterJobDefinitionInput, ...func(*batch.Options)) (*batch.RegisterJobDefinitionOutput, error)
		DescribeJobDefinitions(context.Context, *batch.DescribeJobDefinitionsInput, ...func(*batch.Options)) (*batch.DescribeJobDefinitionsOutput, error)
		DeregisterJobDefinition(context.Context, *batch.DeregisterJobDefinitionInput, ...func(*batch.Options)) (*batch.DeregisterJobDefinitionOutput, error)
		SubmitJob(context.Context, *batch.SubmitJobInput, ...func(*batch.Options)) (*batch.SubmitJobOutput, error)
		ListJobs(context.Context, *batch.ListJobsInput, ...func(*batch.Options)) (*batch.ListJobsOutput, error)
		DescribeJobs(context.Context, *batch.DescribeJobsInput, ...func(*batch.Options)) (*batch.DescribeJobsOutput, error)
		TerminateJob(context.Context, *batch.TerminateJobInput, ...func(*batch.Options)) (*batch.TerminateJobOutput, error)
		DescribeJobQueues(context.Context, *batch.DescribeJobQueuesInput, ...func(*batch.Options)) (*batch.DescribeJobQueuesOutput, error)
		DescribeComputeEnvironments(context.Context, *batch.DescribeComputeEnvironmentsInput, ...func(*batch.Options)) (*batch.DescribeComputeEnvironmentsOutput, error)
	}
	logsAPI interface {
		streams(ctx context.Context, group, prefix string) ([]logStream, error)
		page(ctx context.Context, group, stream, token string) (events []logEvent, next string, err error)
		filter(ctx context.Context, group, pattern string, since int64, token string) (events []logEvent, next string, err error)
	}
	secretsAPI interface {
		GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
		PutSecretValue(context.Context, *secretsmanager.PutSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error)
	}
)

// A cloud is a region of an account.
type cloud struct {
	region, account, partition string
	storage, vault             string // endpoints of S3 and Secrets Manager, if they are not those of AWS
	fips                       bool
	batch                      batchAPI
	logs                       logsAPI
	secrets                    secretsAPI
	lambda                     *lambda.Client
	sagemaker                  *jsonClient
	ecs, scaling               *jsonClient
	quotas                     *jsonClient
	runtime                    *jsonClient // of SageMaker, for its address only

	lists quotaLists
	warn  func(error)
}

// patience is how often a call is attempted, over about a minute, unless the user has set
// AWS_MAX_ATTEMPTS: a job must not fail because the network does for a moment, or because the
// account makes too many requests.
const patience = 10

// cloud connects to a region with the credentials that AWS's own tools find.
func (e *Executor) cloud(ctx context.Context, region string) (*cloud, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.clouds[region]; c != nil {
		return c, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("read the configuration of AWS: %w", err)
	}
	// The SDK makes up a host for each region, whose name then cannot be resolved.
	if fips(cfg) && configured(cfg, sts.ServiceID) == "" && !inFIPS(partitionOf(region), region, true) {
		return nil, noFIPS(sts.ServiceID, region)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, explainCall("ask whose credentials they are", err)
	}
	account := aws.ToString(who.Account)
	if e.opts.Account != "" && region == e.opts.Region && account != e.opts.Account {
		return nil, fmt.Errorf("the target is in the account %s, and the credentials are of %s: choose a profile of that account with AWS_PROFILE, or correct account in the target", e.opts.Account, account)
	}
	if e.config != nil {
		e.config(&cfg)
	}
	cfg.RetryMaxAttempts = cmp.Or(cfg.RetryMaxAttempts, patience)
	c := &cloud{
		region: region, account: account, partition: "aws", storage: configured(cfg, "S3"), vault: configured(cfg, "Secrets Manager"), fips: fips(cfg),
		batch: batch.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg),
		lambda: lambda.NewFromConfig(cfg), warn: e.opts.Warn,
	}
	if parts := strings.Split(aws.ToString(who.Arn), ":"); len(parts) > 1 {
		c.partition = parts[1] // "aws-cn" and others
	}
	c.logs = logsClient{newClient(logsService, cfg, c.partition)}
	c.sagemaker, c.quotas = newClient(sagemakerService, cfg, c.partition), newClient(quotasService, cfg, c.partition)
	c.runtime, c.ecs = newClient(runtimeService, cfg, c.partition), newClient(ecsService, cfg, c.partition)
	c.scaling = newClient(scalingService, cfg, c.partition)
	e.clouds[region] = c
	return c, nil
}

// explainCall adds to an error of AWS what was asked, and what to do.
func explainCall(what string, err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	var dial *net.OpError
	hint := ""
	switch {
	case errors.As(err, &api):
		switch code := api.ErrorCode(); {
		case strings.Contains(code, "AccessDenied"), code == "UnauthorizedOperation":
			hint = "grant the right to these credentials: docs/aws.md lists the rights"
		case strings.Contains(code, "ExpiredToken"), code == "InvalidClientTokenId", code == "UnrecognizedClientException", code == "SignatureDoesNotMatch":
			hint = "log in again, or choose other credentials with AWS_PROFILE"
		case strings.Contains(code, "Throttling"), code == "TooManyRequestsException":
			hint = "the account makes too many requests: try again"
		}
		err = fmt.Errorf("%s: %s", api.ErrorCode(), oneLine(api.ErrorMessage()))
	case errors.As(err, &dial):
		hint = "check the region of the target, and that this machine reaches AWS"
	case strings.Contains(err.Error(), "failed to refresh cached credentials"), strings.Contains(err.Error(), "get credentials"):
		hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	}
	if hint != "" {
		return fmt.Errorf("%s in AWS: %w: %s", what, err, hint)
	}
	return fmt.Errorf("%s in AWS: %w", what, err)
}

// oneLine makes one line of a text, for a status.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// bucket returns the name of the bucket, and repository where images are pushed.
func (w *writer) bucket(c *cloud) string { return w.bucketName(c.account, c.region) }

func (w *writer) bucketName(account, region string) string {
	if w.Existing.Bucket != "" {
		return w.Existing.Bucket
	}
	return hyphened(w.prefix, mostBucket) + "-" + account + "-" + region
}

func (e *Executor) repository(c *cloud) string {
	w := e.names()
	name := w.Existing.Repository
	if name == "" {
		name = w.prefix
	}
	return registryOf(c.account, c.region, c.partition) + "/" + name
}

// registryOf returns the host of the repositories of an account.
func registryOf(account, region, partition string) string {
	return account + ".dkr.ecr." + region + "." + domainOf(partition)
}

// role returns the ARN of a role by what it is called among the resources.
func (w *writer) role(c *cloud, name string) string {
	return "arn:" + c.partition + ":iam::" + c.account + ":role/" + w.roleName(name)
}
