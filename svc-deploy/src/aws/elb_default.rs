//! What attributes are where nobody sets them. What leaves the document returns to this, because Elastic Load Balancing keeps what a call lacks.

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html>. The name of an application's cookie has no
/// default, and no effect without the type `app_cookie`.
pub const OF_TARGET_GROUPS: &[(&str, &str)] = &[
    ("deregistration_delay.timeout_seconds", "300"),
    ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("slow_start.duration_seconds", "0"),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("stickiness.enabled", "false"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.type", "lb_cookie"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html>. Without `deletion_protection.enabled`: who
/// protects a load balancer by hand means it.
pub const OF_LOAD_BALANCERS: &[(&str, &str)] = &[
    ("client_keep_alive.seconds", "3600"),
    ("connection_logs.s3.enabled", "false"),
    ("health_check_logs.s3.enabled", "false"),
    ("idle_timeout.timeout_seconds", "60"),
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("routing.http.preserve_host_header.enabled", "false"),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.xff_header_processing.mode", "append"),
    ("routing.http2.enabled", "true"),
    ("waf.fail_open.enabled", "false"),
    ("zonal_shift.config.enabled", "false"),
];

/// Returns the wanted attributes, and the defaults of those that have another value although nobody wants it.
pub fn with_defaults<'a>(
    wanted: Vec<(&'a str, String)>,
    defaults: &[(&'static str, &str)],
    found: impl Fn(&str) -> Option<&'a str>,
) -> Vec<(&'a str, String)> {
    let is_left = |(key, default): &&(&'static str, &str)| {
        !wanted.iter().any(|(other, _)| other == key) && found(key).is_some_and(|value| value != *default)
    };
    let left: Vec<(&str, String)> = defaults.iter().filter(is_left).map(|(key, default)| (*key, (*default).to_owned())).collect();
    [wanted, left].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_wants_returns_to_its_default() {
        let found = |key: &str| match key {
            "stickiness.enabled" => Some("true"),
            "stickiness.type" => Some("lb_cookie"),
            "slow_start.duration_seconds" => Some("60"),
            "of_tomorrow" => Some("on"),
            _ => None,
        };
        let wanted = vec![("slow_start.duration_seconds", "60".to_owned())];
        let expected = [("slow_start.duration_seconds", "60".to_owned()), ("stickiness.enabled", "false".to_owned())];
        assert_eq!(with_defaults(wanted, OF_TARGET_GROUPS, found), expected);
    }
}
