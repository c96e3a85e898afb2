package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// secrets returns where a job takes its secrets from. Values that exist in AWS are used as they are.
// Others are those of this machine: Secrets Manager gets them, in the secrets that the infrastructure
// made for them.
func (e *Executor) secrets(ctx context.Context, c *cloud, t executors.Task) (all []pod.Secret, err error) {
	w := e.names()
	for _, x := range t.Unit.Secrets {
		at := e.opts.Existing.Secrets[x.Env]
		if at == "" {
			if at, err = c.keepSecret(ctx, w.root+"/"+x.Env, t.Env[x.Name]); err != nil {
				return nil, fmt.Errorf("secret %s: %w", x.Name, err)
			}
		}
		all = append(all, pod.Secret{Name: x.Name, ARN: at, Endpoint: c.vault})
	}
	return all, nil
}

// keepSecret makes sure that a secret has a value, and returns its ARN.
func (c *cloud) keepSecret(ctx context.Context, name, value string) (string, error) {
	var missing *smtypes.ResourceNotFoundException
	now, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil && !errors.As(err, &missing) {
		return "", explainCall("read the secret "+name, err)
	}
	if err == nil && aws.ToString(now.SecretString) == value {
		return aws.ToString(now.ARN), nil
	}
	put, err := c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value})
	if errors.As(err, &missing) {
		return "", fmt.Errorf("there is no secret %s in Secrets Manager: %s", name, infrastructure)
	}
	if err != nil {
		return "", explainCall("write the secret "+name, err)
	}
	return aws.ToString(put.ARN), nil
}
