package aws

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
)

// A call is signed for SageMaker, and repeated only if that may help.
func TestCalls(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string // "STATUS BODY"
		code    string
		calls   int
	}{
		"an answer":                     {[]string{`200 {"Tags":[]}`}, "", 1},
		"a fault of the server":         {[]string{`500 <html>`, `200 {}`}, "", 2},
		"too many requests":             {[]string{`400 {"__type":"ThrottlingException"}`, `200 {}`}, "", 2},
		"a refusal with a namespace":    {[]string{`400 {"__type":"com.amazonaws.sagemaker#ResourceInUse","message":"it exists"}`}, "ResourceInUse", 1},
		"faults of the server for ever": {[]string{`500 {"__type":"InternalFailure"}`}, "InternalFailure", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status, body, _ := strings.Cut(c.answers[min(calls, len(c.answers)-1)], " ")
				calls++
				asked, _ := io.ReadAll(r.Body)
				signed := strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/sagemaker/aws4_request")
				if string(asked) != `{"ResourceArn":"arn"}` || r.Header.Get("X-Amz-Target") != "SageMaker.ListTags" || !signed {
					t.Errorf("it asks for %s with %v", asked, r.Header)
				}
				w.WriteHeader(map[string]int{"200": 200, "400": 400, "500": 500}[status])
				_, _ = io.WriteString(w, body)
			}))
			t.Cleanup(s.Close)
			client := newClient(sagemakerService, fake(s), "aws")
			err := client.call(t.Context(), "ListTags", map[string]string{"ResourceArn": "arn"}, &struct{}{})
			var api smithy.APIError
			if errors.As(err, &api) != (c.code != "") || api != nil && api.ErrorCode() != c.code || calls != c.calls {
				t.Errorf("%d calls give %v", calls, err)
			}
		})
	}
}

// In the first seconds of a role, each service refuses it in its own words. That passes, unlike other refusals.
func TestRolesThatAreNew(t *testing.T) {
	for _, c := range []struct {
		code, message string
		want          bool
	}{
		{"InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda.", true},
		{"ValidationException", "Could not assume role arn:aws:iam::1:role/a.", true},
		{"ClientException", "Role is not valid", true},
		{"ClientException", "Container.image repository should not be null or empty.", false},
		{"AccessDeniedException", "User is not authorized to perform: ecs:RegisterTaskDefinition", false},
	} {
		if got := notAssumed(&smithy.GenericAPIError{Code: c.code, Message: c.message}); got != c.want {
			t.Errorf("%s: %s: got %v", c.code, c.message, got)
		}
	}
}

// CloudWatch lists 50 streams at a time, and an endpoint has one for each instance that it ever had.
func TestAllStreamsOfALogAreListed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch {
		case !strings.Contains(string(b), `"logStreamNamePrefix":"main/"`):
			w.WriteHeader(http.StatusBadRequest)
		case strings.Contains(string(b), `"nextToken":"1"`):
			_, _ = io.WriteString(w, `{"logStreams":[{"logStreamName":"main/b","creationTime":2}]}`)
		default:
			_, _ = io.WriteString(w, `{"logStreams":[{"logStreamName":"main/a","creationTime":1}],"nextToken":"1"}`)
		}
	}))
	defer s.Close()
	got, err := logsClient{newClient(logsService, fake(s), "aws")}.streams(t.Context(), "group", "main/")
	if want := []logStream{{"main/a", 1}, {"main/b", 2}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
