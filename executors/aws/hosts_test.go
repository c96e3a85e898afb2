package aws

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// The small client asks where the SDK asks: at configured endpoints, with FIPS, and in all partitions. What AWS does not
// document is refused.
func TestAddressesOfServices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	text := "[profile all]\nendpoint_url = http://file-all\n[profile one]\nservices = s\n[services s]\nsagemaker =\n  endpoint_url = http://file-one\nlambda =\n  endpoint_url = http://file-one\n[profile fips]\nuse_fips_endpoint = true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, partition, region string
		service                 jsonService
		env, want               string
		sdk                     string // where the client of the SDK for AWS Lambda asks, if that is configured
	}{
		{"AWS", "aws", "eu-central-1", sagemakerService, "", "https://api.sagemaker.eu-central-1.amazonaws.com", ""},
		{"China", "aws-cn", "cn-north-1", logsService, "", "https://logs.cn-north-1.amazonaws.com.cn", ""},
		{"GovCloud", "aws-us-gov", "us-gov-west-1", quotasService, "", "https://servicequotas.us-gov-west-1.amazonaws.com", ""},
		{"Europe", "aws-eusc", "eusc-de-east-1", logsService, "", "https://logs.eusc-de-east-1.amazonaws.eu", ""},
		{"ISO", "aws-iso", "us-iso-east-1", sagemakerService, "", "https://api.sagemaker.us-iso-east-1.c2s.ic.gov", ""},
		{"a partition that is new", "aws-moon", "moon-1", sagemakerService, "", "the host of SageMaker in the partition aws-moon is not known: set AWS_ENDPOINT_URL_SAGEMAKER", ""},
		{"it is configured", "aws-moon", "moon-1", sagemakerService, "AWS_ENDPOINT_URL_SAGEMAKER=http://one", "http://one", ""},
		{"all services", "aws", "eu-central-1", quotasService, "AWS_ENDPOINT_URL=http://all", "http://all", "http://all"},
		{"one of them", "aws", "eu-central-1", quotasService, "AWS_ENDPOINT_URL=http://all AWS_ENDPOINT_URL_SERVICE_QUOTAS=http://one", "http://one", "http://all"},
		{"another one", "aws", "eu-central-1", logsService, "AWS_ENDPOINT_URL_SERVICE_QUOTAS=http://one", "https://logs.eu-central-1.amazonaws.com", ""},
		{"they are ignored", "aws", "eu-central-1", logsService, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://one AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", "https://logs.eu-central-1.amazonaws.com", ""},
		{"a file, all services", "aws", "eu-central-1", sagemakerService, "AWS_PROFILE=all", "http://file-all", "http://file-all"},
		{"a file, one service", "aws", "eu-central-1", sagemakerService, "AWS_PROFILE=one", "http://file-one", "http://file-one"},
		{"a variable goes before a file", "aws", "eu-central-1", sagemakerService, "AWS_PROFILE=one AWS_ENDPOINT_URL=http://all", "http://all", "http://all"},
		{"FIPS", "aws", "us-east-1", sagemakerService, "AWS_USE_FIPS_ENDPOINT=true", "https://api-fips.sagemaker.us-east-1.amazonaws.com", ""},
		{"FIPS of Amazon ECS", "aws-us-gov", "us-gov-west-1", ecsService, "AWS_USE_FIPS_ENDPOINT=true", "https://ecs-fips.us-gov-west-1.amazonaws.com", ""},
		{"FIPS in a file", "aws", "us-east-1", logsService, "AWS_PROFILE=fips", "https://logs-fips.us-east-1.amazonaws.com", ""},
		{"FIPS in GovCloud", "aws-us-gov", "us-gov-west-1", logsService, "AWS_USE_FIPS_ENDPOINT=true", "https://logs.us-gov-west-1.amazonaws.com", ""},
		{"FIPS that is not documented", "aws", "us-east-1", quotasService, "AWS_USE_FIPS_ENDPOINT=true", "AWS documents no FIPS endpoint of Service Quotas in us-east-1: set AWS_ENDPOINT_URL_SERVICE_QUOTAS, choose a region of the USA or GovCloud that has one, or unset AWS_USE_FIPS_ENDPOINT", ""},
		{"FIPS in Canada", "aws", "ca-central-1", sagemakerService, "AWS_USE_FIPS_ENDPOINT=true", "https://api-fips.sagemaker.ca-central-1.amazonaws.com", ""},
		{"FIPS that Canada lacks", "aws", "ca-central-1", runtimeService, "AWS_USE_FIPS_ENDPOINT=true", "AWS documents no FIPS endpoint of SageMaker Runtime in ca-central-1: set AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, choose a region of the USA or GovCloud that has one, or unset AWS_USE_FIPS_ENDPOINT", ""},
		{"FIPS in Europe", "aws", "eu-central-1", sagemakerService, "AWS_USE_FIPS_ENDPOINT=true", "AWS documents no FIPS endpoint of SageMaker in eu-central-1: set AWS_ENDPOINT_URL_SAGEMAKER, choose a region of the USA or GovCloud that has one, or unset AWS_USE_FIPS_ENDPOINT", ""},
		{"FIPS in Europe, configured", "aws", "eu-central-1", sagemakerService, "AWS_USE_FIPS_ENDPOINT=true AWS_ENDPOINT_URL_SAGEMAKER=http://one", "http://one", ""},
		{"FIPS in China", "aws-cn", "cn-north-1", logsService, "AWS_USE_FIPS_ENDPOINT=true", "AWS documents no FIPS endpoint of CloudWatch Logs in cn-north-1: set AWS_ENDPOINT_URL_CLOUDWATCH_LOGS, choose a region of the USA or GovCloud that has one, or unset AWS_USE_FIPS_ENDPOINT", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kv := range os.Environ() { // those of the emulator, and of who runs the tests
				if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
					t.Setenv(name, value) // which restores it
					if err := os.Unsetenv(name); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("AWS_CONFIG_FILE", file)
			for _, kv := range strings.Fields(c.env) {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(c.region))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.service.address(cfg, c.partition)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("it is asked at %s, want %s", got, c.want)
			}
			sdk := ""
			if at := lambda.NewFromConfig(cfg).Options().BaseEndpoint; at != nil {
				sdk = *at
			}
			if sdk != c.sdk || configured(cfg, "Lambda") != sdk {
				t.Errorf("the SDK asks at %q, want %q, and %q is configured", sdk, c.sdk, configured(cfg, "Lambda"))
			}
		})
	}
}

// A service without a known address is not asked.
func TestAServiceWithoutAnAddress(t *testing.T) {
	asked := false
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer s.Close()
	cfg := fake(s)
	cfg.BaseEndpoint = nil
	t.Setenv("AWS_ENDPOINT_URL", "")
	if err := newClient(logsService, cfg, "aws-moon").call(t.Context(), "DescribeLogStreams", nil, nil); err == nil || !strings.Contains(err.Error(), "set AWS_ENDPOINT_URL_CLOUDWATCH_LOGS") || asked {
		t.Errorf("%v, asked: %v", err, asked)
	}
}

// The credentials are not asked for at a host that AWS does not have.
func TestFIPSInARegionWithoutIt(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/none")
	t.Setenv("AWS_USE_FIPS_ENDPOINT", "true")
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"} {
		t.Setenv(name, "")
	}
	_, err := New(Options{}).cloud(t.Context(), "eu-central-1")
	if err == nil || !strings.Contains(err.Error(), "AWS documents no FIPS endpoint of STS in eu-central-1: set AWS_ENDPOINT_URL_STS, choose a region of the USA") {
		t.Errorf("%v", err)
	}
}
