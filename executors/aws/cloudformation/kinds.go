package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/executors/terraform"
)

// A tagForm says how a resource has tags.
type tagForm int

const (
	noTags tagForm = iota
	tagList
	tagMap
)

// A kind says what a type of resources of the provider is in CloudFormation.
type kind struct {
	name string // "AWS::S3::Bucket"
	into string // the type whose resource with the same label has the properties
	// properties are those of attributes. A part of an attribute's path is a block; one of a property that ends
	// with "[]" is a list with an item for each block. A form of [forms] may precede it.
	properties map[string]string
	// ignored says why attributes and blocks have no property.
	ignored map[string]string
	// special converts what is more than another name.
	special map[string]func(c *converter, r *resource, to *Resource, i terraform.Item) error
	// fixed are properties that the files do not set because the provider has another default.
	fixed map[string]any
	// extra adds what the provider does by itself.
	extra func(c *converter, r *resource, to *Resource) error
	tags  tagForm
	// refers are the attributes that Ref returns, and attributes the others.
	refers     []string
	attributes map[string]func(c *converter, r *resource) (any, error)
}

// prefix returns how logical ids begin: those of AWS::S3::Bucket with "S3Bucket".
func (k kind) prefix() string {
	return strings.ReplaceAll(strings.TrimPrefix(k.name, "AWS::"), "::", "")
}

// att returns an attribute of CloudFormation.
func att(name string) func(*converter, *resource) (any, error) {
	return func(_ *converter, r *resource) (any, error) { return getAtt(r.id, name), nil }
}

// forms change values.
var forms = map[string]func(any) (any, error){
	// one is a list of one item.
	"one": func(v any) (any, error) { return []any{v}, nil },
	// pairs are a list of names and values.
	"pairs": func(v any) (any, error) {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%v is not an object", v)
		}
		list := []any{}
		for _, k := range slices.Sorted(maps.Keys(object)) {
			list = append(list, map[string]any{"Name": k, "Value": object[k]})
		}
		return list, nil
	},
	// pascal has keys that begin with capitals, except for options of logs, which are a user's.
	"pascal": func(v any) (any, error) { return pascal(v), nil },
}

func pascal(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = pascal(v[i])
		}
		return list
	case map[string]any:
		object := map[string]any{}
		for k, x := range v {
			switch {
			case strings.HasPrefix(k, "Fn::"):
				object[k] = x
			case k == "options":
				object["Options"] = x
			default:
				object[strings.ToUpper(k[:1])+k[1:]] = pascal(x)
			}
		}
		return object
	}
	return v
}

// s3 are settings of a bucket that the provider has as resources of their own.
func s3(properties map[string]string, ignored map[string]string) kind {
	if ignored == nil {
		ignored = map[string]string{}
	}
	ignored["bucket"] = "they are properties of the bucket"
	return kind{into: "aws_s3_bucket", properties: properties, ignored: ignored}
}

// kinds are the types of resources of the provider.
var kinds map[string]kind

func init() {
	kinds = map[string]kind{
		"aws_s3_bucket": {name: "AWS::S3::Bucket", properties: map[string]string{"bucket": "BucketName"}, tags: tagList,
			refers: []string{"id", "bucket"}, attributes: attributes("arn", "Arn")},
		"aws_s3_bucket_versioning": s3(map[string]string{"versioning_configuration.status": "VersioningConfiguration.Status"}, nil),
		"aws_s3_bucket_server_side_encryption_configuration": s3(map[string]string{
			"rule.apply_server_side_encryption_by_default.sse_algorithm": "BucketEncryption.ServerSideEncryptionConfiguration[].ServerSideEncryptionByDefault.SSEAlgorithm"}, nil),
		"aws_s3_bucket_public_access_block": s3(map[string]string{
			"block_public_acls": "PublicAccessBlockConfiguration.BlockPublicAcls", "block_public_policy": "PublicAccessBlockConfiguration.BlockPublicPolicy",
			"ignore_public_acls": "PublicAccessBlockConfiguration.IgnorePublicAcls", "restrict_public_buckets": "PublicAccessBlockConfiguration.RestrictPublicBuckets"}, nil),
		"aws_s3_bucket_ownership_controls": s3(map[string]string{"rule.object_ownership": "OwnershipControls.Rules[].ObjectOwnership"}, nil),
		"aws_s3_bucket_lifecycle_configuration": s3(map[string]string{
			"rule.id": "LifecycleConfiguration.Rules[].Id", "rule.status": "LifecycleConfiguration.Rules[].Status",
			"rule.abort_incomplete_multipart_upload.days_after_initiation": "LifecycleConfiguration.Rules[].AbortIncompleteMultipartUpload.DaysAfterInitiation",
		}, map[string]string{"rule.filter": "it is empty: the rule is for all objects"}),
		"aws_s3_bucket_policy": {name: "AWS::S3::BucketPolicy", properties: map[string]string{"bucket": "Bucket", "policy": "PolicyDocument"},
			ignored: map[string]string{"depends_on": "the settings that it waits for are those of the bucket"}},
		"aws_ecr_repository": {name: "AWS::ECR::Repository", properties: map[string]string{
			"name": "RepositoryName", "image_tag_mutability": "ImageTagMutability", "image_scanning_configuration.scan_on_push": "ImageScanningConfiguration.ScanOnPush",
			"encryption_configuration.encryption_type": "EncryptionConfiguration.EncryptionType"}, tags: tagList, refers: []string{"name", "id"}, attributes: attributes("arn", "Arn", "repository_url", "RepositoryUri")},
		"aws_cloudwatch_log_group": {name: "AWS::Logs::LogGroup", properties: map[string]string{"name": "LogGroupName", "retention_in_days": "RetentionInDays"}, tags: tagList,
			refers: []string{"name", "id"}, attributes: map[string]func(*converter, *resource) (any, error){
				// The attribute Arn ends with ":*", and that of the provider does not.
				"arn": func(_ *converter, r *resource) (any, error) {
					return sub("arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${" + r.id + "}"), nil
				}}},
		"aws_secretsmanager_secret": {name: "AWS::SecretsManager::Secret", properties: map[string]string{"name": "Name", "description": "Description"}, tags: tagList, refers: []string{"arn", "id"}},
		"aws_iam_role": {name: "AWS::IAM::Role", properties: map[string]string{"name": "RoleName", "description": "Description", "assume_role_policy": "AssumeRolePolicyDocument"},
			tags: tagList, refers: []string{"name", "id"}, attributes: attributes("arn", "Arn")},
		"aws_iam_role_policy": {name: "AWS::IAM::RolePolicy", properties: map[string]string{"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"}},
		"aws_vpc": {name: "AWS::EC2::VPC", properties: map[string]string{"cidr_block": "CidrBlock", "enable_dns_hostnames": "EnableDnsHostnames", "enable_dns_support": "EnableDnsSupport"},
			tags: tagList, refers: []string{"id"}, attributes: attributes("cidr_block", "CidrBlock")},
		"aws_subnet": {name: "AWS::EC2::Subnet", properties: map[string]string{"vpc_id": "VpcId", "cidr_block": "CidrBlock", "availability_zone": "AvailabilityZone"},
			tags: tagList, refers: []string{"id"}},
		"aws_route_table":             {name: "AWS::EC2::RouteTable", properties: map[string]string{"vpc_id": "VpcId"}, tags: tagList, refers: []string{"id"}},
		"aws_route_table_association": {name: "AWS::EC2::SubnetRouteTableAssociation", properties: map[string]string{"subnet_id": "SubnetId", "route_table_id": "RouteTableId"}},
		"aws_internet_gateway":        {name: "AWS::EC2::InternetGateway", special: special("vpc_id", attached), tags: tagList, refers: []string{"id"}},
		"aws_route": {name: "AWS::EC2::Route", properties: map[string]string{"route_table_id": "RouteTableId", "destination_cidr_block": "DestinationCidrBlock"},
			special: special("gateway_id", throughGateway)},
		"aws_security_group": {name: "AWS::EC2::SecurityGroup", properties: map[string]string{"name": "GroupName", "description": "GroupDescription", "vpc_id": "VpcId"},
			special: map[string]func(*converter, *resource, *Resource, terraform.Item) error{"ingress": rules("SecurityGroupIngress", "Source"), "egress": rules("SecurityGroupEgress", "Destination")},
			extra:   noEgress, tags: tagList, attributes: attributes("id", "GroupId")},
		"aws_vpc_endpoint": {name: "AWS::EC2::VPCEndpoint", properties: map[string]string{
			"vpc_id": "VpcId", "service_name": "ServiceName", "vpc_endpoint_type": "VpcEndpointType", "route_table_ids": "RouteTableIds", "private_dns_enabled": "PrivateDnsEnabled",
			"subnet_ids": "SubnetIds", "security_group_ids": "SecurityGroupIds"}, tags: tagList, refers: []string{"id"},
			attributes: map[string]func(*converter, *resource) (any, error){"prefix_list_id": prefixList}},
		"aws_batch_compute_environment": {name: "AWS::Batch::ComputeEnvironment", properties: map[string]string{
			"name": "ComputeEnvironmentName", "type": "Type", "compute_resources.type": "ComputeResources.Type", "compute_resources.max_vcpus": "ComputeResources.MaxvCpus",
			"compute_resources.subnets": "ComputeResources.Subnets", "compute_resources.security_group_ids": "ComputeResources.SecurityGroupIds"},
			// A change is made in place: another environment of the same name could not be made first.
			fixed: map[string]any{"ReplaceComputeEnvironment": false}, tags: tagMap, attributes: attributes("arn", "ComputeEnvironmentArn")},
		"aws_batch_job_queue": {name: "AWS::Batch::JobQueue", properties: map[string]string{
			"name": "JobQueueName", "state": "State", "priority": "Priority", "compute_environment_order.order": "ComputeEnvironmentOrder[].Order",
			"compute_environment_order.compute_environment": "ComputeEnvironmentOrder[].ComputeEnvironment",
			"job_state_time_limit_action.action":            "JobStateTimeLimitActions[].Action", "job_state_time_limit_action.max_time_seconds": "JobStateTimeLimitActions[].MaxTimeSeconds",
			"job_state_time_limit_action.reason": "JobStateTimeLimitActions[].Reason", "job_state_time_limit_action.state": "JobStateTimeLimitActions[].State"},
			tags: tagMap, attributes: attributes("arn", "JobQueueArn")},
		"aws_batch_job_definition": {name: "AWS::Batch::JobDefinition", properties: map[string]string{
			"name": "JobDefinitionName", "type": "Type", "platform_capabilities": "PlatformCapabilities", "propagate_tags": "PropagateTags", "container_properties": "pascal ContainerProperties",
			"retry_strategy.attempts": "RetryStrategy.Attempts", "timeout.attempt_duration_seconds": "Timeout.AttemptDurationSeconds"}, tags: tagMap, refers: []string{"arn"}},
		"aws_cloudwatch_metric_alarm": {name: "AWS::CloudWatch::Alarm", properties: map[string]string{
			"alarm_name": "AlarmName", "alarm_description": "AlarmDescription", "comparison_operator": "ComparisonOperator", "treat_missing_data": "TreatMissingData",
			"alarm_actions": "AlarmActions", "ok_actions": "OKActions", "threshold": "Threshold", "evaluation_periods": "EvaluationPeriods", "namespace": "Namespace",
			"metric_name": "MetricName", "dimensions": "pairs Dimensions", "statistic": "Statistic", "extended_statistic": "ExtendedStatistic", "period": "Period",
			"metric_query.id": "Metrics[].Id", "metric_query.label": "Metrics[].Label", "metric_query.expression": "Metrics[].Expression", "metric_query.return_data": "Metrics[].ReturnData",
			"metric_query.metric.namespace": "Metrics[].MetricStat.Metric.Namespace", "metric_query.metric.metric_name": "Metrics[].MetricStat.Metric.MetricName",
			"metric_query.metric.dimensions": "pairs Metrics[].MetricStat.Metric.Dimensions", "metric_query.metric.period": "Metrics[].MetricStat.Period", "metric_query.metric.stat": "Metrics[].MetricStat.Stat"},
			extra: onlyOneReturns, tags: tagList},
		"aws_sns_topic":              {name: "AWS::SNS::Topic", properties: map[string]string{"name": "TopicName"}, tags: tagList, refers: []string{"arn", "id"}},
		"aws_sns_topic_policy":       {name: "AWS::SNS::TopicPolicy", properties: map[string]string{"arn": "one Topics", "policy": "PolicyDocument"}},
		"aws_sns_topic_subscription": {name: "AWS::SNS::Subscription", properties: map[string]string{"topic_arn": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"}},
		"aws_budgets_budget": {name: "AWS::Budgets::Budget", properties: map[string]string{
			"name": "Budget.BudgetName", "budget_type": "Budget.BudgetType", "limit_amount": "Budget.BudgetLimit.Amount", "limit_unit": "Budget.BudgetLimit.Unit", "time_unit": "Budget.TimeUnit",
			"notification.comparison_operator": "NotificationsWithSubscribers[].Notification.ComparisonOperator", "notification.notification_type": "NotificationsWithSubscribers[].Notification.NotificationType",
			"notification.threshold": "NotificationsWithSubscribers[].Notification.Threshold", "notification.threshold_type": "NotificationsWithSubscribers[].Notification.ThresholdType",
			"notification.subscriber_sns_topic_arns": "subscribers NotificationsWithSubscribers[].Subscribers"}, special: special("cost_filter", costFilter)},
	}
	maps.Copy(kinds, balancers())
	maps.Copy(kinds, schedules())
	forms["scheme"] = scheme
	forms["subscribers"] = func(v any) (any, error) {
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("%v is not a list", v)
		}
		all := make([]any, len(list))
		for i, topic := range list {
			all[i] = map[string]any{"SubscriptionType": "SNS", "Address": topic}
		}
		return all, nil
	}
}

// attributes returns pairs of attributes of the provider and of CloudFormation.
func attributes(pairs ...string) map[string]func(*converter, *resource) (any, error) {
	all := map[string]func(*converter, *resource) (any, error){}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = att(pairs[i+1])
	}
	return all
}

type converts = func(*converter, *resource, *Resource, terraform.Item) error

func special(name string, f converts) map[string]converts { return map[string]converts{name: f} }

// attached adds the attachment of a gateway, which is a resource of its own.
func attached(c *converter, r *resource, _ *Resource, i terraform.Item) error {
	vpc, err := c.value(i.Value, r)
	c.Resources[attachment(r)] = &Resource{
		Type: "AWS::EC2::VPCGatewayAttachment", From: []string{r.address()}, Properties: map[string]any{"VpcId": vpc, "InternetGatewayId": ref(r.id)},
	}
	return err
}

func attachment(r *resource) string { return "EC2VPCGatewayAttachment" + Camel(r.label) }

// throughGateway makes a route wait for the attachment of its gateway.
func throughGateway(c *converter, r *resource, to *Resource, i terraform.Item) error {
	gateway, err := c.value(i.Value, r)
	to.Properties["GatewayId"] = gateway
	for _, g := range c.resources {
		if g.kind == "aws_internet_gateway" {
			to.DependsOn = append(to.DependsOn, attachment(g))
		}
	}
	return err
}

// rules converts rules of a security group: the provider has one for several targets, and CloudFormation one
// for each.
func rules(property, side string) converts {
	return func(c *converter, r *resource, to *Resource, i terraform.Item) error {
		base := map[string]any{}
		var targets []map[string]any
		for _, x := range i.Body.Items {
			v, err := c.value(x.Value, r)
			if err != nil {
				return err
			}
			list, _ := v.([]any)
			switch x.Name {
			case "protocol":
				base["IpProtocol"] = v
			case "from_port":
				base["FromPort"] = v
			case "to_port":
				base["ToPort"] = v
			case "cidr_blocks":
				for _, cidr := range list {
					targets = append(targets, map[string]any{"CidrIp": cidr})
				}
			case "prefix_list_ids":
				for _, id := range list {
					targets = append(targets, map[string]any{side + "PrefixListId": id})
				}
			case "security_groups":
				for _, id := range list {
					targets = append(targets, map[string]any{side + "SecurityGroupId": id})
				}
			case "":
			default:
				return fmt.Errorf("it has %s, which nothing maps", x.Name)
			}
		}
		if base["IpProtocol"] == "-1" { // all ports
			delete(base, "FromPort")
			delete(base, "ToPort")
		}
		all, _ := to.Properties[property].([]any)
		for _, t := range targets {
			for k, v := range base {
				t[k] = v
			}
			all = append(all, t)
		}
		to.Properties[property] = all
		return nil
	}
}

// noEgress allows nothing to leave a group without a rule for it, as the provider does. CloudFormation would allow
// everything.
func noEgress(_ *converter, _ *resource, to *Resource) error {
	if to.Properties["SecurityGroupEgress"] == nil {
		to.Properties["SecurityGroupEgress"] = []any{map[string]any{"IpProtocol": "icmp", "FromPort": 252, "ToPort": 86, "CidrIp": "255.255.255.255/32", "Description": "Nothing"}}
	}
	return nil
}

// onlyOneReturns says which query an alarm watches: in CloudFormation, all are by default.
func onlyOneReturns(_ *converter, _ *resource, to *Resource) error {
	list, _ := to.Properties["Metrics"].([]any)
	for _, m := range list {
		if m, ok := m.(map[string]any); ok && m["ReturnData"] == nil {
			m["ReturnData"] = false
		}
	}
	return nil
}

// prefixList returns a parameter: CloudFormation does not know the addresses of S3 in a region.
func prefixList(c *converter, r *resource) (any, error) {
	c.Parameters["S3PrefixList"] = map[string]any{
		"Type": "String", "AllowedPattern": "^pl-[0-9a-f]+$", "ConstraintDescription": "A prefix list has the form pl-6ea54007.",
		"Description": "Addresses of S3 in the region, from `aws ec2 describe-managed-prefix-lists --filters Name=prefix-list-name,Values=com.amazonaws.REGION.s3`.",
	}
	return ref("S3PrefixList"), nil
}

// costFilter adds a filter of a budget: one list of values by name.
func costFilter(c *converter, r *resource, to *Resource, i terraform.Item) error {
	name, _ := i.Body.Attribute("name")
	values, ok := i.Body.Attribute("values")
	if len(i.Body.Items) != 2 || !ok || name.Text == "" {
		return errors.New("it has more than a name and values")
	}
	v, err := c.value(values, r)
	return errors.Join(err, put(to.Properties, "Budget.CostFilters."+name.Text, 0, v))
}
