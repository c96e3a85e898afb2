// Package awstest runs an emulator of AWS for tests, in which the jobs of AWS Batch run: see
// emulator.py. A registry of its own stands for ECR.
package awstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/tenon-ml/tenon/internal/test/pythontest"
)

// Account and Region are those of the emulator.
const (
	Account = "123456789012"
	Region  = "eu-central-1"
)

//go:embed ecs.py emulator.py endpoints.py events.py functions.py roles.py training.py
var programs embed.FS

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
		"AWS_ENDPOINT_URL=" + e.Endpoint, "AWS_ENDPOINT_URL_LAMBDA=" + e.at(2), "AWS_ENDPOINT_URL_ECS=" + e.at(3), "AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING=" + e.at(3), "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
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

// emulatorPorts is how many ports one after another an emulator has.
const emulatorPorts = 4

// freePorts returns the first of the ports of an emulator, which are free now.
func freePorts() (address, port string, err error) {
	for range 100 {
		var all []net.Listener
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		all = append(all, first)
		address, number := first.Addr().String(), first.Addr().(*net.TCPAddr).Port
		for i := 1; i < emulatorPorts; i++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(number+i))
			if err != nil {
				break
			}
			all = append(all, l)
		}
		for _, l := range all {
			err = errors.Join(err, l.Close())
		}
		if len(all) == emulatorPorts || err != nil {
			return address, strconv.Itoa(number), err
		}
	}
	return "", "", fmt.Errorf("there are no %d free ports one after another", emulatorPorts)
}

func start(python, dir, images string) (*Emulator, error) {
	address, port, err := freePorts()
	if err != nil {
		return nil, err
	}
	script, ecr := filepath.Join(dir, "emulator.py"), Account+".dkr.ecr."+Region+".amazonaws.com"
	e := At("http://"+address, dir)
	if err := os.MkdirAll(filepath.Join(e.Hosts, ecr), 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"ecs.py", "emulator.py", "endpoints.py", "events.py", "functions.py", "roles.py", "training.py"} {
		text, err := programs.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			return nil, err
		}
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

// Endpoints sets how long a container of an endpoint may take to become ready.
func (e *Emulator) Endpoints(startup time.Duration) error {
	return e.control(map[string]any{"endpoints": map[string]float64{"startup": startup.Seconds()}})
}

// Tasks sets how long a task of a service on Fargate may take to become ready.
func (e *Emulator) Tasks(startup time.Duration) error {
	return e.control(map[string]any{"tasks": map[string]float64{"startup": startup.Seconds()}})
}

// Scaled returns how a service of Amazon ECS follows its load, in JSON, or "".
func (e *Emulator) Scaled(service string) (string, error) {
	r, err := http.NewRequest(http.MethodPost, e.at(3), strings.NewReader(`{"ServiceNamespace":"ecs","ResourceIds":["`+service+`"]}`))
	if err != nil {
		return "", err
	}
	r.Header.Set("X-Amz-Target", "AnyScaleFrontendService.DescribeScalableTargets")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out struct{ ScalableTargets []json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || len(out.ScalableTargets) == 0 {
		return "", err
	}
	return string(out.ScalableTargets[0]), nil
}

// Hosted returns how often something of SageMaker's endpoints, or a service or a task definition of Amazon ECS, was created
// with a name.
func (e *Emulator) Hosted(name string) (created int, err error) {
	b, err := os.ReadFile(filepath.Join(e.Dir, "endpoints", name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return bytes.Count(b, []byte("\n")), err
}

// Refuse makes the next job or endpoint fail, for a reason that AWS would give, before its container starts.
func (e *Emulator) Refuse(reason string) error {
	return e.control(map[string]any{"refuse": []string{reason}})
}

// SetQuota sets a quota of the account.
func (e *Emulator) SetQuota(service, name string, value float64) error {
	return e.control(map[string]any{"quotas": map[string]any{service: map[string]any{name: value}}})
}

// SetRoles makes roles with a policy each, in JSON, or replaces the policies of those that exist. What jobs
// ask of S3 has to be allowed by their role.
func (e *Emulator) SetRoles(policies map[string]string) error {
	return e.control(map[string]any{"roles": policies})
}

// Warm returns how many training jobs whose names end as one does kept their instance.
func (e *Emulator) Warm(name string) (int, error) {
	all, err := filepath.Glob(filepath.Join(e.Dir, "training", "*"+name[max(0, len(name)-16):]+".warm"))
	return len(all), err
}

// Fire makes a rule of EventBridge start what its target says, as its schedule would.
func (e *Emulator) Fire(rule string) error {
	return e.control(map[string]any{"fire": []string{rule}})
}

// Interrupt takes the spare capacity of a training job back.
func (e *Emulator) Interrupt(job string) error {
	return e.control(map[string]any{"interrupt": []string{job}})
}

// Config returns the configuration of clients of the emulator.
func (e *Emulator) Config(ctx context.Context) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, config.WithRegion(Region), config.WithBaseEndpoint(e.Endpoint),
		config.WithCredentialsProvider(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		})))
}

// Sign signs a request to the URL of a function, or of an endpoint, as whoever has the credentials of the
// emulator does.
func Sign(r *http.Request, body string) error {
	service := "lambda"
	if strings.HasPrefix(r.URL.Path, "/endpoints/") {
		service = "sagemaker"
	}
	sum := sha256.Sum256([]byte(body))
	return v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, r, hex.EncodeToString(sum[:]), service, Region, time.Now())
}

// Left returns what a sweep by tags finds of a system: active job definitions, training jobs, functions,
// endpoints with their configurations and models, services of Amazon ECS and active task definitions, and jobs that have not ended.
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
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, path := range names {
		ids = append(ids, strings.TrimSuffix(filepath.Base(path), ".name"))
	}
	if len(ids) > 0 {
		jobs, err := client.DescribeJobs(ctx, &batch.DescribeJobsInput{Jobs: ids})
		if err != nil {
			return nil, err
		}
		for _, j := range jobs.Jobs {
			if j.Tags["tenon:system"] == system && j.Status != types.JobStatusSucceeded && j.Status != types.JobStatusFailed {
				left = append(left, aws.ToString(j.JobArn))
			}
		}
	}
	trainings, err := filepath.Glob(filepath.Join(e.Dir, "training", "*.system"))
	hosted, unread := filepath.Glob(filepath.Join(e.Dir, "hosted", "*"))
	for _, path := range slices.Concat(trainings, hosted) {
		b, _ := os.ReadFile(path) // it may have been deleted, by another test
		if string(b) == system {
			left = append(left, strings.TrimSuffix(filepath.Base(path), ".system"))
		}
	}
	return left, errors.Join(err, unread)
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

// Trainings returns the folders that the containers of a training job have at /tenon/work, and how often the
// job was created.
func (e *Emulator) Trainings(name string) (folders []string, created int, err error) {
	folders, err = filepath.Glob(filepath.Join(e.Dir, "jobs", name+".*"))
	b, unread := os.ReadFile(filepath.Join(e.Dir, "training", name))
	if unread != nil && !errors.Is(unread, fs.ErrNotExist) {
		err = errors.Join(err, unread)
	}
	return folders, bytes.Count(b, []byte("\n")), err
}
