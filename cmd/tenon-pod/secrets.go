package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// readSecrets gives the program the secrets that the platform has not passed on.
func (r *runner) readSecrets(ctx context.Context) error {
	for _, x := range r.task.Secrets {
		value, err := readSecret(ctx, x)
		if err != nil {
			return fmt.Errorf("secret %s: %w", x.Name, err)
		}
		r.container = append(r.container, pod.SecretEnv+x.Name+"="+value)
	}
	return nil
}

func readSecret(ctx context.Context, x pod.Secret) (string, error) {
	parts := strings.Split(x.ARN, ":")
	if len(parts) < 7 || parts[2] != "secretsmanager" {
		return "", fmt.Errorf("%s is not the ARN of a secret of Secrets Manager", x.ARN)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(parts[3]))
	if err != nil {
		return "", err
	}
	if x.Endpoint != "" {
		cfg.BaseEndpoint = &x.Endpoint
	}
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &x.ARN})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", x.ARN, err)
	}
	return aws.ToString(out.SecretString), nil
}
