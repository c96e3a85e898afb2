// Package awstest runs an emulator of AWS for tests, in which the jobs of AWS Batch run: see
// emulator.py. A registry of its own stands for ECR.
package awstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tenon-ml/tenon/internal/test/pythontest"
)

// Account and Region are those of the emulator.
const (
	Account = "123456789012"
	Region  = "eu-central-1"
)

var (
	//go:embed emulator.py
	emulator []byte
	//go:embed functions.py
	functions []byte
)

//go:embed moto.lock
var lock []byte

// An Emulator answers at Endpoint.
type Emulator struct {
	Endpoint string // "http://127.0.0.1:41234"
	Dir      string // its folder, see emulator.py
	Hosts    string // folder that makes ECR the registry of the emulator

	stop func()
}

// At describes the emulator that another process has started in a folder.
func At(endpoint, dir string) *Emulator {
	return &Emulator{Endpoint: endpoint, Dir: dir, Hosts: filepath.Join(dir, "hosts"), stop: func() {}}
}

// Environ are the variables with which programs find the emulator, as "NAME=value".
func (e *Emulator) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + e.Endpoint, "AWS_ENDPOINT_URL_LAMBDA=" + e.at(2), "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// Start starts an emulator with files below a folder, which the caller removes after [Emulator.Stop].
func Start(ctx context.Context, dir string) (*Emulator, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the emulator of AWS makes namespaces for jobs, for which it needs root")
	}
	python, err := pythontest.Ensure(ctx, lock)
	if err != nil {
		return nil, err
	}
	images, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ecr := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { _ = ecr.Serve(images) }() // until it is closed
	for range 5 {                         // another process may take a port before the emulator does
		var e *Emulator
		if e, err = start(python, dir, images.Addr().String()); err == nil {
			ended := e.stop
			e.stop = func() { ended(); _ = ecr.Close() }
			return e, nil
		}
	}
	return nil, errors.Join(err, ecr.Close())
}

func start(python, dir, images string) (*Emulator, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	script, ecr := filepath.Join(dir, "emulator.py"), Account+".dkr.ecr."+Region+".amazonaws.com"
	e := At("http://"+address, dir)
	if err := errors.Join(os.WriteFile(script, emulator, 0o600), os.WriteFile(filepath.Join(dir, "functions.py"), functions, 0o600), os.MkdirAll(filepath.Join(e.Hosts, ecr), 0o755)); err != nil {
		return nil, err
	}
	mirror := fmt.Sprintf("server = %q\n[host.%[1]q]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n", "http://"+images)
	if err := os.WriteFile(filepath.Join(e.Hosts, ecr, "hosts.toml"), []byte(mirror), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(python, script, port, dir, images)
	cmd.Env = append(os.Environ(), "TZ=UTC", "MOTO_ACCOUNT_ID="+Account, "AWS_REGION="+Region)
	said, err := os.Create(filepath.Join(dir, "emulator.log"))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	e.stop = func() { _ = cmd.Process.Kill(); <-exited }
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(e.Endpoint + "/moto-api/")
		if err == nil {
			return e, resp.Body.Close()
		}
		select {
		case <-exited:
			text, _ := os.ReadFile(said.Name())
			return nil, fmt.Errorf("the emulator of AWS ended: %s", text)
		default:
		}
		if time.Now().After(end) {
			e.stop()
			return nil, fmt.Errorf("the emulator of AWS does not answer: %w", err)
		}
	}
}

// Stop ends the emulator, and with it everything that it runs.
func (e *Emulator) Stop() { e.stop() }

// control asks for what no call of AWS does.
func (e *Emulator) control(ask map[string]any) error {
	ask["account"], ask["region"] = Account, Region
	b, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	resp, err := http.Post(e.at(1), "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the emulator of AWS: %s", resp.Status)
	}
	return nil
}

// at returns the address of another port of the emulator.
func (e *Emulator) at(further int) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(e.Endpoint, "http://"), ":")
	n, _ := strconv.Atoi(port) // of a listener
	return fmt.Sprintf("http://%s:%d", host, n+further)
}

// Unassumed makes AWS Lambda say n times that it may not assume a role, as it does when the role was
// just made.
func (e *Emulator) Unassumed(n int) error {
	return e.control(map[string]any{"functions": map[string]int{"unassumed": n}})
}

// Refuse makes the next job fail, for a reason that AWS would give, before its container starts.
func (e *Emulator) Refuse(reason string) error {
	return e.control(map[string]any{"refuse": []string{reason}})
}

// Config returns the configuration of clients of the emulator.
func (e *Emulator) Config(ctx context.Context) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, config.WithRegion(Region), config.WithBaseEndpoint(e.Endpoint),
		config.WithCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		})))
}

// Sign signs a request to the URL of a function, as whoever has the credentials of the emulator does.
func Sign(r *http.Request, body string) error {
	sum := sha256.Sum256([]byte(body))
	return v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, r, hex.EncodeToString(sum[:]), "lambda", Region, time.Now())
}

// Provision makes what jobs need of the infrastructure in files of Terraform: buckets, log
// groups, secrets, and queues with their compute environments. It knows the expressions that
// tenon writes for their names. Roles and networks are names only.
func (e *Emulator) Provision(ctx context.Context, files map[string][]byte) error {
	cfg, err := e.Config(ctx)
	if err != nil {
		return err
	}
	variables := &hcl.EvalContext{Variables: map[string]cty.Value{
		"local": cty.ObjectVal(map[string]cty.Value{"account": cty.StringVal(Account)}),
		"var":   cty.ObjectVal(map[string]cty.Value{"region": cty.StringVal(Region)}),
	}}
	queues := map[string]int64{}
	for name, text := range files {
		f, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
		if diags.HasErrors() {
			return diags
		}
		body, is := f.Body.(*hclsyntax.Body)
		if !is {
			return fmt.Errorf("%s has no body", name)
		}
		for _, b := range body.Blocks {
			if b.Type != "resource" {
				continue
			}
			value := func(of *hclsyntax.Body, attribute string) cty.Value {
				v, diags := of.Attributes[attribute].Expr.Value(variables)
				if diags.HasErrors() {
					err = errors.Join(err, diags)
					return cty.StringVal("")
				}
				return v
			}
			switch b.Labels[0] {
			case "aws_batch_compute_environment":
				of := b.Body.Blocks[slices.IndexFunc(b.Body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == "compute_resources" })]
				most, _ := value(of.Body, "max_vcpus").AsBigFloat().Int64()
				queues[value(b.Body, "name").AsString()] = most // its queue has the same name
			case "aws_s3_bucket":
				err = errors.Join(err, makeBucket(ctx, cfg, value(b.Body, "bucket").AsString()))
			case "aws_cloudwatch_log_group":
				err = errors.Join(err, makeGroup(ctx, cfg, value(b.Body, "name").AsString()))
			case "aws_secretsmanager_secret":
				err = errors.Join(err, makeSecret(ctx, cfg, value(b.Body, "name").AsString()))
			}
		}
	}
	var list []map[string]any
	for name, most := range queues {
		list = append(list, map[string]any{"name": name, "max_vcpus": most})
	}
	return errors.Join(err, e.control(map[string]any{"queues": list}))
}

func makeBucket(ctx context.Context, cfg aws.Config, name string) error {
	_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: Region},
	})
	return unless[*s3types.BucketAlreadyOwnedByYou](err)
}

func makeGroup(ctx context.Context, cfg aws.Config, name string) error {
	_, err := cloudwatchlogs.NewFromConfig(cfg).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name})
	return unless[*cwtypes.ResourceAlreadyExistsException](err)
}

func makeSecret(ctx context.Context, cfg aws.Config, name string) error {
	_, err := secretsmanager.NewFromConfig(cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name})
	return unless[*smtypes.ResourceExistsException](err)
}

// unless returns an error that is not of a type.
func unless[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return nil
	}
	return err
}

// Left returns what a sweep by tags finds of a system: active job definitions, jobs that have not
// ended, and functions.
func (e *Emulator) Left(ctx context.Context, system string) (left []string, err error) {
	cfg, err := e.Config(ctx)
	if err != nil {
		return nil, err
	}
	client := batch.NewFromConfig(cfg)
	all, err := client.DescribeJobDefinitions(ctx, &batch.DescribeJobDefinitionsInput{Status: aws.String("ACTIVE")})
	if err != nil {
		return nil, err
	}
	for _, d := range all.JobDefinitions {
		if d.Tags["tenon:system"] == system {
			left = append(left, aws.ToString(d.JobDefinitionArn))
		}
	}
	fs := lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.BaseEndpoint = aws.String(e.at(2)) })
	list, err := fs.ListFunctions(ctx, &lambda.ListFunctionsInput{})
	if err != nil {
		return nil, err
	}
	for _, f := range list.Functions {
		tagged, err := fs.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: f.FunctionName})
		if err != nil {
			return nil, err
		}
		if tagged.Tags["tenon:system"] == system {
			left = append(left, aws.ToString(f.FunctionArn))
		}
	}
	names, err := filepath.Glob(filepath.Join(e.Dir, "jobs", "*.name"))
	if err != nil || len(names) == 0 {
		return left, err
	}
	var ids []string
	for _, path := range names {
		ids = append(ids, strings.TrimSuffix(filepath.Base(path), ".name"))
	}
	jobs, err := client.DescribeJobs(ctx, &batch.DescribeJobsInput{Jobs: ids})
	if err != nil {
		return nil, err
	}
	for _, j := range jobs.Jobs {
		if j.Tags["tenon:system"] == system && j.Status != types.JobStatusSucceeded && j.Status != types.JobStatusFailed {
			left = append(left, aws.ToString(j.JobArn))
		}
	}
	return left, nil
}

// Jobs returns the ids of all jobs that were submitted with a name.
func (e *Emulator) Jobs(name string) (ids []string, err error) {
	names, err := filepath.Glob(filepath.Join(e.Dir, "jobs", "*.name"))
	for _, path := range names {
		b, unread := os.ReadFile(path)
		err = errors.Join(err, unread)
		if string(b) == name {
			ids = append(ids, strings.TrimSuffix(filepath.Base(path), ".name"))
		}
	}
	return ids, err
}

// Work is the folder that a job has at /tenon/work.
func (e *Emulator) Work(id string) string { return filepath.Join(e.Dir, "jobs", id) }
