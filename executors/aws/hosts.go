package aws

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// domains are those of the partitions of AWS. Source: the partitions of the SDK, which AWS publishes with it.
var domains = map[string]string{
	"aws": "amazonaws.com", "aws-cn": "amazonaws.com.cn", "aws-us-gov": "amazonaws.com", "aws-eusc": "amazonaws.eu",
	"aws-iso": "c2s.ic.gov", "aws-iso-b": "sc2s.sgov.gov", "aws-iso-e": "cloud.adc-e.uk", "aws-iso-f": "csp.hci.ic.gov",
}

// domainOf returns the domain of a partition, or that of most if it is not known.
func domainOf(partition string) string { return cmp.Or(domains[partition], domains["aws"]) }

// partitionOf returns the partition of a region, from its name.
func partitionOf(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"eusc-", "aws-eusc"},
		{"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"}, {"eu-isoe-", "aws-iso-e"}, {"us-isof-", "aws-iso-f"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// address returns where a service is asked: at the endpoint that the user has configured, in the ways that the SDK
// knows, or at that of AWS.
func (s jsonService) address(cfg aws.Config, partition string) (string, error) {
	if at := configured(cfg, s.id); at != "" {
		return at, nil
	}
	variable := endpointVariable(s.id)
	domain, ok := domains[partition]
	if !ok {
		return "", &addressError{fmt.Sprintf("the host of %s in the partition %s is not known: set %s", s.id, partition, variable)}
	}
	host := s.host
	if fips(cfg) {
		if s.fips == "" || !inFIPS(partition, cfg.Region, s.fipsInCanada) {
			return "", noFIPS(s.id, cfg.Region)
		}
		if host = s.fips; partition == "aws-us-gov" && s.fipsInGov != "" {
			host = s.fipsInGov
		}
	}
	return "https://" + host + "." + cfg.Region + "." + domain, nil
}

// inFIPS reports whether a region has FIPS endpoints: those of GovCloud and the USA have, and for some services those of
// Canada.
func inFIPS(partition, region string, canada bool) bool {
	return partition == "aws-us-gov" || partition == "aws" && (strings.HasPrefix(region, "us-") || canada && strings.HasPrefix(region, "ca-"))
}

// noFIPS is the error for a service without a FIPS endpoint.
func noFIPS(id, region string) error {
	return &addressError{fmt.Sprintf("AWS documents no FIPS endpoint of %s in %s: set %s, choose a region of the USA or GovCloud that has one, or unset AWS_USE_FIPS_ENDPOINT", id, region, endpointVariable(id))}
}

// An addressError says that a service cannot be asked.
type addressError struct{ says string }

func (e *addressError) Error() string { return e.says }

// endpointVariable returns the variable with the endpoint of one service.
func endpointVariable(id string) string {
	return "AWS_ENDPOINT_URL_" + strings.ToUpper(strings.ReplaceAll(id, " ", "_"))
}

// configured returns the endpoint that the user has configured for a service, or "". What is for the service
// goes before what is for all services, and a variable before the file.
func configured(cfg aws.Config, id string) string {
	all := aws.ToString(cfg.BaseEndpoint)
	_, forAll := os.LookupEnv("AWS_ENDPOINT_URL")
	if _, forIt := os.LookupEnv(endpointVariable(id)); forAll && !forIt {
		return all
	}
	ctx := context.Background() // nothing is asked
	if ignored, found, _ := config.GetIgnoreConfiguredEndpoints(ctx, cfg.ConfigSources); found && ignored {
		return all
	}
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(interface {
			GetServiceBaseEndpoint(ctx context.Context, id string) (string, bool, error)
		}); ok {
			if at, found, err := s.GetServiceBaseEndpoint(ctx, id); err == nil && found {
				return at
			}
		}
	}
	return all
}

// fips reports whether the user wants endpoints with validated cryptography.
func fips(cfg aws.Config) bool {
	for _, source := range cfg.ConfigSources {
		if s, ok := source.(interface {
			GetUseFIPSEndpoint(ctx context.Context) (aws.FIPSEndpointState, bool, error)
		}); ok {
			if state, found, err := s.GetUseFIPSEndpoint(context.Background()); err == nil && found {
				return state == aws.FIPSEndpointStateEnabled
			}
		}
	}
	return false
}
