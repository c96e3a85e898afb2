package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// A client calls a few methods of Azure's APIs. Azure's own library for Container Apps is not linked: it describes all
// methods, and takes 1.7 MB.
type client struct {
	manager, logs string // URLs of Azure Resource Manager and Log Analytics
	vault         string // URL of a vault, with a star for its name
	learning      string // URL of Azure Machine Learning, with a star for a location

	plain       *http.Client // without credentials
	credentials *credentials

	mu        sync.Mutex
	pipelines map[string]runtime.Pipeline // by audience: each keeps its token until it expires
}

// endpointVariable names a server that answers for all APIs but that of blobs: the fake of tests.
const endpointVariable = "TENON_AZURE_ENDPOINT"

func newClient() *client {
	c := &client{
		manager: "https://management.azure.com", logs: "https://api.loganalytics.azure.com", vault: "https://*.vault.azure.net", learning: "https://*.api.azureml.ms",
		plain: &http.Client{Timeout: time.Minute}, credentials: &credentials{}, pipelines: map[string]runtime.Pipeline{},
	}
	if at := os.Getenv(endpointVariable); at != "" {
		c.manager, c.logs, c.vault, c.learning = at, at+"/logs", at+"/vaults/*", at+"/learning/*"
	}
	return c
}

// credentials are those that Azure's own tools find. They are looked for when they are first needed.
type credentials struct {
	mu    sync.Mutex
	found azcore.TokenCredential
}

// A credentialsError says that there are no credentials that can be used.
type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }

// NonRetriable makes azcore give up at once.
func (*credentialsError) NonRetriable() {}

// GetToken implements [azcore.TokenCredential].
func (c *credentials) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil {
		found, err := azidentity.NewDefaultAzureCredential(nil)
		if err != nil {
			return azcore.AccessToken{}, &credentialsError{err}
		}
		c.found = found
	}
	token, err := c.found.GetToken(ctx, o)
	if err != nil && ctx.Err() == nil {
		err = &credentialsError{err}
	}
	return token, err
}

// Audiences of tokens.
const (
	forManager = "https://management.azure.com/.default"
	forLogs    = "https://api.loganalytics.io/.default"
	forVault   = "https://vault.azure.net/.default"
	forML      = "https://ml.azure.com/.default"
)

// retries are for about a minute: a job must not fail because the network does for a moment, or because the subscription
// makes too many requests.
var retries = policy.RetryOptions{MaxRetries: 6, RetryDelay: time.Second, MaxRetryDelay: 20 * time.Second}

// once makes a call that may not be repeated, because what it starts has no name of its own.
func once(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

// pipeline returns what sends requests with tokens for an audience. It is made once, because credentials of the Azure CLI
// keep no token: they start az for each.
func (c *client) pipeline(audience string) runtime.Pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pipelines[audience]
	if !ok {
		p = runtime.NewPipeline("tenon", "", runtime.PipelineOptions{
			PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(c.credentials, []string{audience}, nil)},
		}, &policy.ClientOptions{Transport: c.plain, Retry: retries})
		c.pipelines[audience] = p
	}
	return p
}

// call sends a request and decodes its answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, audience, to string, in, out any) error {
	_, err := c.send(ctx, method, audience, to, in, out)
	return err
}

// send is call, and returns the header of the answer. Credentials are only sent over TLS.
func (c *client) send(ctx context.Context, method, audience, to string, in, out any) (http.Header, error) {
	r, err := runtime.NewRequest(ctx, method, to)
	if err == nil && in != nil {
		err = runtime.MarshalAsJSON(r, in)
	}
	if err != nil {
		return nil, err
	}
	answer, err := c.pipeline(audience).Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = fmt.Errorf("%s: %w", r.Raw().URL.Host, u.Err)
		}
		return nil, err
	}
	text, err := runtime.Payload(answer)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		return nil, refused(answer.StatusCode, text)
	}
	if out == nil {
		return answer.Header, nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("%s answers what is not JSON: %w", r.Raw().URL.Host, err)
	}
	return answer.Header, nil
}

// A refusal is an error that Azure answers.
type refusal struct {
	status  int    // of HTTP
	code    string // "AuthorizationFailed"
	message string
}

func (e *refusal) Error() string { return e.code + ": " + oneLine(e.message) }

// mostText is how many bytes are shown of an error that is not JSON, such as a page of a proxy.
const mostText = 1000

// refused decodes an error of Azure.
func refused(status int, text []byte) error {
	var is struct {
		Error struct{ Code, Message string }
	}
	e := &refusal{status: status, code: http.StatusText(status)}
	if json.Unmarshal(text, &is) != nil || is.Error.Code == "" {
		e.message = strings.ToValidUTF8(string(text[:min(len(text), mostText)]), "")
		return e
	}
	e.code, e.message = is.Error.Code, is.Error.Message
	return e
}

// oneLine makes one line of a text, for a status.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// isStatus reports whether Azure has answered an error with a status of HTTP.
func isStatus(err error, status int) bool {
	var e *refusal
	return errors.As(err, &e) && e.status == status
}

// explainCall adds to an error what was asked, and what to do.
func explainCall(what string, err error) error {
	if err == nil {
		return nil
	}
	var api *refusal
	var denied *credentialsError
	var dial *net.OpError
	hint := ""
	switch {
	case errors.As(err, &denied):
		err = errors.New(oneLine(denied.Error()))
		hint = "run az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
	case errors.As(err, &api):
		hint = hintOf(api)
	case errors.As(err, &dial):
		hint = "check that this machine reaches Azure"
	}
	if hint != "" {
		err = fmt.Errorf("%s on Azure: %w: %s", what, err, hint)
		if cloud.Lacks(hint, lacking) {
			return &executors.LackingError{Err: err}
		}
		return err
	}
	return fmt.Errorf("%s on Azure: %w", what, err)
}

// infrastructure is what to do when something is missing that Terraform makes.
const infrastructure = "apply the infrastructure that tenon compile --format=terraform writes"

// hints are what to do about errors of Azure Resource Manager, by a part of their code or message in lower case. The
// first that fits counts. Source: "Troubleshoot common Azure deployment errors".
var hints = []struct{ part, hint string }{
	{"subscriptionnotfound", "check the subscription of the target: `az account list` shows those of these credentials"},
	{"invalidsubscriptionid", "check the subscription of the target: `az account list` shows those of these credentials"},
	{"missingsubscriptionregistration", infrastructure + ", which registers the providers of resources"},
	{"resourcegroupnotfound", infrastructure},
	{"resourcegroupbeingdeleted", "wait until the resource group is gone, and apply the infrastructure again"},
	{"scopelocked", "remove the lock of the resource group or the resource: `az lock list` shows it"},
	{"locationnotavailable", location},
	{"noregisteredproviderfound", location},
	{"invalidlocation", location},
	{"authorizationfailed", rightHint},
	{"forbidden", rightHint},
	{"quota", quota},
	{"maxnumberof", quota},
	{"capacity", noCapacity},
	{"notfound", infrastructure},
}

const (
	location  = "check the location of the target: `az provider show -n Microsoft.App` lists those of Container Apps"
	rightHint = "grant the right to these credentials: docs/azure.md lists the rights"
	quota     = "a quota of the subscription is used up or 0: raise it under Quotas, for the location of the target"
)

// hintOf returns what to do about an error of Azure, or "".
func hintOf(e *refusal) string {
	switch e.status {
	case http.StatusUnauthorized:
		return "log in again: az login"
	case http.StatusTooManyRequests:
		return "the subscription makes too many requests: try again"
	}
	low := strings.ToLower(e.code + " " + e.message)
	for _, h := range hints {
		if strings.Contains(low, h.part) {
			return h.hint
		}
	}
	if e.status == http.StatusForbidden {
		return rightHint
	}
	return ""
}

// resource returns the URL of a resource, and what is below it.
func (c *client) resource(id, version string, below ...string) string {
	return c.manager + strings.Join(append([]string{id}, below...), "/") + "?api-version=" + version
}

// get reads something. It reports whether it exists.
func (c *client) get(ctx context.Context, what, audience, at string, out any) (bool, error) {
	err := c.call(ctx, http.MethodGet, audience, at, nil, out)
	if isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, explainCall("look at "+what, err)
}

// secretAt returns the URL of a secret in a vault.
func (c *client) secretAt(vault, name string) string {
	return strings.Replace(c.vault, "*", vault, 1) + "/secrets/" + name
}

// A secret is one of Key Vault, with its value.
type secret struct {
	Value string `json:"value"`
	ID    string `json:"id,omitempty"` // URL of its version
}

const vaultVersion = "?api-version=7.4"

// keepSecret makes sure that a secret has a value, and returns the URL of the version that has it.
func (c *client) keepSecret(ctx context.Context, vault, name, value string) (string, error) {
	var now secret
	at := c.secretAt(vault, name)
	there, err := c.get(ctx, "the secret "+name, forVault, at+vaultVersion, &now)
	if err == nil && (!there || now.Value != value) {
		now = secret{}
		err = explainCall("write the secret "+name, c.call(ctx, http.MethodPut, forVault, at+vaultVersion, secret{Value: value}, &now))
	}
	var host *net.DNSError
	if errors.As(err, &host) && host.IsNotFound {
		err = fmt.Errorf("there is no Key Vault %s: %s", vault, infrastructure)
	}
	return cmp.Or(now.ID, at), err
}
