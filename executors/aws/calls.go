package aws

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// A jsonClient makes the few calls to a service that are needed. The client of the SDK has all of
// them, with descriptions that are made when a program starts: that of SageMaker alone would add 11 MB
// to tenon. What it would do is done by the core of the SDK: credentials, signatures, and which errors
// are repeated. Source of the protocol: "AWS JSON 1.1 protocol" of the Smithy specification.
type jsonClient struct {
	jsonService
	cfg      aws.Config
	endpoint string
	unknown  error // why the endpoint is not known
	retryer  *retry.Standard
}

// A jsonService is a service with the JSON protocol.
type jsonService struct {
	id     string // as the SDK names it
	signed string // its name in signatures
	target string // the first part of the names of its calls
	host   string // in front of the region
	// fips is the host of its FIPS endpoint, in GovCloud too if fipsInGov is "". "" is not documented. Source: the pages
	// "endpoints and quotas" of the services in the AWS General Reference.
	fips, fipsInGov string
	// fipsInCanada says that there is one in Canada, and not only in the regions of the USA. Source: endpoints.json of
	// botocore 1.44.8.
	fipsInCanada bool
}

var (
	sagemakerService = jsonService{"SageMaker", "sagemaker", "SageMaker", "api.sagemaker", "api-fips.sagemaker", "", true}
	logsService      = jsonService{"CloudWatch Logs", "logs", "Logs_20140328", "logs", "logs-fips", "logs", true}
	eksService       = jsonService{"EKS", "eks", "", "eks", "fips.eks", "eks", false}
	runtimeService   = jsonService{"SageMaker Runtime", "sagemaker", "", "runtime.sagemaker", "runtime-fips.sagemaker", "", false}
	quotasService    = jsonService{"Service Quotas", "servicequotas", "ServiceQuotasV20190624", "servicequotas", "", "", false}
)

// mostAnswer is the size in bytes of the longest answer that is read.
const mostAnswer = 16 << 20

func newClient(s jsonService, cfg aws.Config, partition string) *jsonClient {
	if cfg.HTTPClient == nil { // as the clients of the SDK do
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	endpoint, unknown := s.address(cfg, partition)
	return &jsonClient{
		jsonService: s, cfg: cfg, endpoint: endpoint, unknown: unknown,
		retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = cfg.RetryMaxAttempts }),
	}
}

// call makes a call and decodes its answer, if out is not nil. Errors of the service
// are [smithy.APIError] values. A call is repeated as those of the SDK are.
func (c *jsonClient) call(ctx context.Context, operation string, in, out any) error {
	if c.unknown != nil {
		return c.unknown
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.repeat(ctx, operation, body, out, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.endpoint, "/")+"/", bytes.NewReader(body))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
			req.Header.Set("X-Amz-Target", c.target+"."+operation)
		}
		return req, err
	})
}

// get is call for a service with the REST protocol.
func (c *jsonClient) get(ctx context.Context, path string, out any) error {
	if c.unknown != nil {
		return c.unknown
	}
	return c.repeat(ctx, path, nil, out, func() (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.endpoint, "/")+path, nil)
	})
}

func (c *jsonClient) repeat(ctx context.Context, operation string, body []byte, out any, request func() (*http.Request, error)) error {
	for attempt := 1; ; attempt++ {
		req, err := request()
		if err == nil {
			err = c.once(ctx, req, operation, body, out)
		}
		if err == nil || ctx.Err() != nil || attempt >= c.retryer.MaxAttempts() || !c.retryer.IsErrorRetryable(err) {
			return err
		}
		pause, failed := c.retryer.RetryDelay(attempt, err)
		if failed != nil {
			return errors.Join(err, failed)
		}
		if failed := sleep(ctx, pause); failed != nil {
			return failed
		}
	}
}

func (c *jsonClient) once(ctx context.Context, req *http.Request, operation string, body []byte, out any) error {
	creds, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("get credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), c.signed, c.cfg.Region, time.Now()); err != nil {
		return err
	}
	resp, err := c.cfg.HTTPClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", operation, err)
	}
	return nil
}

// refusal decodes an error of a service. Its code may have a namespace before it and a URL behind it.
func refusal(resp *http.Response, answer []byte) error {
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &said) // also an answer of something in between is an error
	code := cmp.Or(resp.Header.Get("X-Amzn-ErrorType"), said.Type, resp.Status)
	code, _, _ = strings.Cut(code, ":")
	code = code[strings.LastIndexByte(code, '#')+1:]
	fault := smithy.FaultClient
	if resp.StatusCode >= http.StatusInternalServerError {
		fault = smithy.FaultServer
	}
	err := &smithy.GenericAPIError{Code: code, Message: said.Message, Fault: fault}
	if fault == smithy.FaultServer {
		return &brokenError{err}
	}
	return err
}

// A brokenError is a fault of the server, after which a call is repeated.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error        { return e.error }
func (e *brokenError) RetryableError() bool { return true }

// hasCode reports whether an error of AWS has a code.
func hasCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// A logEvent is a line in CloudWatch.
type logEvent struct {
	EventID       string `json:"eventId"`
	LogStreamName string `json:"logStreamName"`
	Timestamp     int64  `json:"timestamp"` // milliseconds since 1970
	Message       string `json:"message"`
}

// A logStream is a part of a log, of one container.
type logStream struct {
	Name         string `json:"logStreamName"`
	CreationTime int64  `json:"creationTime"` // milliseconds since 1970
}

// logsMissing reports that a log does not exist: nothing was printed yet.
func logsMissing(err error) bool { return hasCode(err, "ResourceNotFoundException") }

// A logsClient reads logs of CloudWatch.
type logsClient struct{ *jsonClient }

// streams returns the streams of a group whose name begins with prefix.
func (c logsClient) streams(ctx context.Context, group, prefix string) (all []logStream, err error) {
	in := map[string]any{"logGroupName": group, "logStreamNamePrefix": prefix}
	for {
		var out struct {
			Streams []logStream `json:"logStreams"`
			Next    string      `json:"nextToken"`
		}
		if err := c.call(ctx, "DescribeLogStreams", in, &out); err != nil {
			return nil, err
		}
		all = append(all, out.Streams...)
		if out.Next == "" {
			return all, nil
		}
		in["nextToken"] = out.Next
	}
}

// page returns events of a stream, from its beginning or from a token, and the token of the next
// page. The end is a page whose next token is its own. A page without events is no end.
func (c logsClient) page(ctx context.Context, group, stream, token string) ([]logEvent, string, error) {
	in := map[string]any{"logGroupName": group, "logStreamName": stream, "startFromHead": true}
	if token != "" {
		in["nextToken"] = token
	}
	var out struct {
		Events []logEvent `json:"events"`
		Next   string     `json:"nextForwardToken"`
	}
	err := c.call(ctx, "GetLogEvents", in, &out)
	return out.Events, out.Next, err
}

// filter returns events of all streams of a group since a time in milliseconds, those that have a pattern unless
// that is "", and the token of the next page, or "" after the last one.
func (c logsClient) filter(ctx context.Context, group, pattern string, since int64, token string) ([]logEvent, string, error) {
	in := map[string]any{"logGroupName": group, "startTime": since}
	if pattern != "" {
		in["filterPattern"] = pattern
	}
	if token != "" {
		in["nextToken"] = token
	}
	var out struct {
		Events []logEvent `json:"events"`
		Next   string     `json:"nextToken"`
	}
	err := c.call(ctx, "FilterLogEvents", in, &out)
	return out.Events, out.Next, err
}
