package cloudformation

import (
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/executors/terraform"
)

// balancers are the types of resources of load balancers and of Amazon ECS.
func balancers() map[string]kind {
	actions := func(block, list string) map[string]string {
		return map[string]string{
			block + ".type": list + "[].Type", block + ".target_group_arn": list + "[].TargetGroupArn",
			block + ".fixed_response.content_type": list + "[].FixedResponseConfig.ContentType",
			block + ".fixed_response.message_body": list + "[].FixedResponseConfig.MessageBody",
			block + ".fixed_response.status_code":  list + "[].FixedResponseConfig.StatusCode",
		}
	}
	with := func(properties map[string]string, pairs ...string) map[string]string {
		for i := 0; i < len(pairs); i += 2 {
			properties[pairs[i]] = pairs[i+1]
		}
		return properties
	}
	return map[string]kind{
		"aws_ecs_cluster": {name: "AWS::ECS::Cluster", properties: map[string]string{"name": "ClusterName"}, tags: tagList},
		"aws_lb": {name: "AWS::ElasticLoadBalancingV2::LoadBalancer", properties: map[string]string{
			"name": "Name", "load_balancer_type": "Type", "internal": "scheme Scheme", "subnets": "Subnets", "security_groups": "SecurityGroups"},
			special: special("drop_invalid_header_fields", setting("LoadBalancerAttributes", "routing.http.drop_invalid_header_fields.enabled")),
			tags:    tagList, refers: []string{"arn", "id"}, attributes: attributes("dns_name", "DNSName", "arn_suffix", "LoadBalancerFullName")},
		"aws_lb_listener": {name: "AWS::ElasticLoadBalancingV2::Listener", properties: with(actions("default_action", "DefaultActions"),
			"load_balancer_arn", "LoadBalancerArn", "port", "Port", "protocol", "Protocol", "ssl_policy", "SslPolicy", "certificate_arn", "Certificates[].CertificateArn"),
			refers: []string{"arn", "id"}},
		"aws_lb_listener_rule": {name: "AWS::ElasticLoadBalancingV2::ListenerRule", properties: with(actions("action", "Actions"),
			"listener_arn", "ListenerArn", "priority", "Priority", "condition.host_header.values", "Conditions[].HostHeaderConfig.Values"),
			fixed: map[string]any{"Conditions[].Field": "host-header"}, tags: tagList},
		"aws_lb_target_group": {name: "AWS::ElasticLoadBalancingV2::TargetGroup", properties: map[string]string{
			"name": "Name", "port": "Port", "protocol": "Protocol", "target_type": "TargetType", "vpc_id": "VpcId", "health_check.path": "HealthCheckPath",
			"health_check.matcher": "Matcher.HttpCode", "health_check.interval": "HealthCheckIntervalSeconds", "health_check.timeout": "HealthCheckTimeoutSeconds",
			"health_check.healthy_threshold": "HealthyThresholdCount", "health_check.unhealthy_threshold": "UnhealthyThresholdCount"},
			special: special("deregistration_delay", setting("TargetGroupAttributes", "deregistration_delay.timeout_seconds")),
			tags:    tagList, refers: []string{"arn", "id"}, attributes: attributes("arn_suffix", "TargetGroupFullName")},
	}
}

// setting adds a pair of a key and a text to a list.
func setting(list, key string) converts {
	return func(c *converter, r *resource, to *Resource, i terraform.Item) error {
		v, err := c.value(i.Value, r)
		all, _ := to.Properties[list].([]any)
		to.Properties[list] = append(all, map[string]any{"Key": key, "Value": fmt.Sprint(v)})
		return err
	}
}

// scheme says whether a load balancer can be reached from the Internet.
func scheme(v any) (any, error) {
	internal, ok := v.(bool)
	switch {
	case !ok:
		return nil, errors.New("it is neither true nor false")
	case internal:
		return "internal", nil
	}
	return "internet-facing", nil
}
