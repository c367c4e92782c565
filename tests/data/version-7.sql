-- A database that python-script-runner 7.5.0 made (two runs of job.py, two of hang.py: the last in New York; one saved by its API), dumped.
BEGIN TRANSACTION;
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id INTEGER NOT NULL,
    alert_name TEXT NOT NULL,
    severity TEXT NOT NULL,
    condition TEXT NOT NULL,
    triggered_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (execution_id) REFERENCES executions(id) ON DELETE CASCADE
);
INSERT INTO "alerts" VALUES(1,4,'slow','WARNING','cpu_max > 85','2026-11-25 03:54:42');
CREATE TABLE executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    script_path TEXT NOT NULL,
    script_args TEXT,
    start_time TEXT NOT NULL,
    end_time TEXT NOT NULL,
    execution_time_seconds REAL NOT NULL,
    exit_code INTEGER NOT NULL,
    success BOOLEAN NOT NULL,
    attempt_number INTEGER DEFAULT 1,
    timeout_seconds INTEGER,
    timed_out BOOLEAN DEFAULT 0,
    stdout_lines INTEGER,
    stderr_lines INTEGER,
    python_version TEXT,
    platform TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO "executions" VALUES(1,'job.py','["3"]','2026-11-25T03:50:18.965026','2026-11-25T03:50:19.080095',0.1151,3,0,1,NULL,0,1,0,'3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]','linux','2026-11-25 03:50:19');
INSERT INTO "executions" VALUES(2,'job.py','[]','2026-11-25T03:50:19.442173','2026-11-25T03:50:19.553656',0.1115,0,1,1,NULL,0,1,0,'3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]','linux','2026-11-25 03:50:19');
INSERT INTO "executions" VALUES(3,'hang.py','[]','2026-11-25T03:51:14.871178','2026-11-25T03:51:15.897879',1.0267,-1,0,1,1,1,0,0,'','','2026-11-25 03:51:15');
INSERT INTO "executions" VALUES(4,'hang.py','[]','2026-11-24T22:51:16.131739','2026-11-24T22:51:17.165672',1.0339,-1,0,1,1,1,0,0,'','','2026-11-25 03:51:17');
INSERT INTO "executions" VALUES(5,'/srv/etl.py','["--token", "s3cr3t-value"]','','',5.25,-9,0,2,NULL,0,0,0,'','','2026-11-25 03:54:42');
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id INTEGER NOT NULL,
    metric_name TEXT NOT NULL,
    metric_value REAL NOT NULL,
    FOREIGN KEY (execution_id) REFERENCES executions(id) ON DELETE CASCADE
);
INSERT INTO "metrics" VALUES(1,1,'execution_time_seconds',0.1151);
INSERT INTO "metrics" VALUES(2,1,'success',0.0);
INSERT INTO "metrics" VALUES(3,1,'stdout_length',6.0);
INSERT INTO "metrics" VALUES(4,1,'stderr_length',0.0);
INSERT INTO "metrics" VALUES(5,1,'timed_out',0.0);
INSERT INTO "metrics" VALUES(6,1,'memory_before',33.984375);
INSERT INTO "metrics" VALUES(7,1,'cpu_percent_before',0.0);
INSERT INTO "metrics" VALUES(8,1,'num_threads_before',1.0);
INSERT INTO "metrics" VALUES(9,1,'num_fds_before',7.0);
INSERT INTO "metrics" VALUES(10,1,'memory_after',34.109375);
INSERT INTO "metrics" VALUES(11,1,'memory_delta',0.125);
INSERT INTO "metrics" VALUES(12,1,'cpu_percent_after',0.0);
INSERT INTO "metrics" VALUES(13,1,'num_threads_after',1.0);
INSERT INTO "metrics" VALUES(14,1,'num_fds_after',7.0);
INSERT INTO "metrics" VALUES(15,1,'num_fds_delta',0.0);
INSERT INTO "metrics" VALUES(16,1,'user_time_seconds',0.012553);
INSERT INTO "metrics" VALUES(17,1,'system_time_seconds',0.0);
INSERT INTO "metrics" VALUES(18,1,'max_memory_kb',34576.0);
INSERT INTO "metrics" VALUES(19,1,'max_memory_mb',33.765625);
INSERT INTO "metrics" VALUES(20,1,'page_faults_minor',836.0);
INSERT INTO "metrics" VALUES(21,1,'page_faults_major',0.0);
INSERT INTO "metrics" VALUES(22,1,'block_input_ops',0.0);
INSERT INTO "metrics" VALUES(23,1,'block_output_ops',0.0);
INSERT INTO "metrics" VALUES(24,1,'voluntary_context_switches',1.0);
INSERT INTO "metrics" VALUES(25,1,'involuntary_context_switches',8.0);
INSERT INTO "metrics" VALUES(26,1,'sample_count',1.0);
INSERT INTO "metrics" VALUES(27,1,'sampling_efficiency',1.0);
INSERT INTO "metrics" VALUES(28,1,'cpu_avg',0.0);
INSERT INTO "metrics" VALUES(29,1,'cpu_max',0.0);
INSERT INTO "metrics" VALUES(30,1,'cpu_min',0.0);
INSERT INTO "metrics" VALUES(31,1,'memory_avg_mb',7.296875);
INSERT INTO "metrics" VALUES(32,1,'memory_max_mb',7.296875);
INSERT INTO "metrics" VALUES(33,1,'memory_min_mb',7.296875);
INSERT INTO "metrics" VALUES(34,2,'execution_time_seconds',0.1115);
INSERT INTO "metrics" VALUES(35,2,'success',1.0);
INSERT INTO "metrics" VALUES(36,2,'stdout_length',6.0);
INSERT INTO "metrics" VALUES(37,2,'stderr_length',0.0);
INSERT INTO "metrics" VALUES(38,2,'timed_out',0.0);
INSERT INTO "metrics" VALUES(39,2,'memory_before',33.95703125);
INSERT INTO "metrics" VALUES(40,2,'cpu_percent_before',0.0);
INSERT INTO "metrics" VALUES(41,2,'num_threads_before',1.0);
INSERT INTO "metrics" VALUES(42,2,'num_fds_before',7.0);
INSERT INTO "metrics" VALUES(43,2,'memory_after',34.078125);
INSERT INTO "metrics" VALUES(44,2,'memory_delta',0.12109375);
INSERT INTO "metrics" VALUES(45,2,'cpu_percent_after',0.0);
INSERT INTO "metrics" VALUES(46,2,'num_threads_after',1.0);
INSERT INTO "metrics" VALUES(47,2,'num_fds_after',7.0);
INSERT INTO "metrics" VALUES(48,2,'num_fds_delta',0.0);
INSERT INTO "metrics" VALUES(49,2,'user_time_seconds',6.44599999999999947325e-03);
INSERT INTO "metrics" VALUES(50,2,'system_time_seconds',3.22299999999999973662e-03);
INSERT INTO "metrics" VALUES(51,2,'max_memory_kb',34708.0);
INSERT INTO "metrics" VALUES(52,2,'max_memory_mb',33.89453125);
INSERT INTO "metrics" VALUES(53,2,'page_faults_minor',832.0);
INSERT INTO "metrics" VALUES(54,2,'page_faults_major',0.0);
INSERT INTO "metrics" VALUES(55,2,'block_input_ops',0.0);
INSERT INTO "metrics" VALUES(56,2,'block_output_ops',0.0);
INSERT INTO "metrics" VALUES(57,2,'voluntary_context_switches',1.0);
INSERT INTO "metrics" VALUES(58,2,'involuntary_context_switches',6.0);
INSERT INTO "metrics" VALUES(59,2,'sample_count',1.0);
INSERT INTO "metrics" VALUES(60,2,'sampling_efficiency',1.0);
INSERT INTO "metrics" VALUES(61,2,'cpu_avg',0.0);
INSERT INTO "metrics" VALUES(62,2,'cpu_max',0.0);
INSERT INTO "metrics" VALUES(63,2,'cpu_min',0.0);
INSERT INTO "metrics" VALUES(64,2,'memory_avg_mb',2.28515625);
INSERT INTO "metrics" VALUES(65,2,'memory_max_mb',2.28515625);
INSERT INTO "metrics" VALUES(66,2,'memory_min_mb',2.28515625);
INSERT INTO "metrics" VALUES(67,3,'execution_time_seconds',1.0267);
INSERT INTO "metrics" VALUES(68,3,'success',0.0);
INSERT INTO "metrics" VALUES(69,3,'timed_out',1.0);
INSERT INTO "metrics" VALUES(70,3,'sample_count',10.0);
INSERT INTO "metrics" VALUES(71,3,'sampling_efficiency',1.0);
INSERT INTO "metrics" VALUES(72,3,'cpu_avg',0.0);
INSERT INTO "metrics" VALUES(73,3,'cpu_max',0.0);
INSERT INTO "metrics" VALUES(74,3,'cpu_min',0.0);
INSERT INTO "metrics" VALUES(75,3,'memory_avg_mb',7.680859375);
INSERT INTO "metrics" VALUES(76,3,'memory_max_mb',8.5078125);
INSERT INTO "metrics" VALUES(77,3,'memory_min_mb',0.23828125);
INSERT INTO "metrics" VALUES(78,4,'execution_time_seconds',1.0339);
INSERT INTO "metrics" VALUES(79,4,'success',0.0);
INSERT INTO "metrics" VALUES(80,4,'timed_out',1.0);
INSERT INTO "metrics" VALUES(81,4,'sample_count',10.0);
INSERT INTO "metrics" VALUES(82,4,'sampling_efficiency',1.0);
INSERT INTO "metrics" VALUES(83,4,'cpu_avg',0.0);
INSERT INTO "metrics" VALUES(84,4,'cpu_max',0.0);
INSERT INTO "metrics" VALUES(85,4,'cpu_min',0.0);
INSERT INTO "metrics" VALUES(86,4,'memory_avg_mb',8.408203125);
INSERT INTO "metrics" VALUES(87,4,'memory_max_mb',8.5078125);
INSERT INTO "metrics" VALUES(88,4,'memory_min_mb',7.51171875);
INSERT INTO "metrics" VALUES(89,5,'rows_loaded',1234.0);
INSERT INTO "metrics" VALUES(90,5,'success',0.0);
INSERT INTO "metrics" VALUES(91,5,'execution_time_seconds',5.25);
COMMIT;
