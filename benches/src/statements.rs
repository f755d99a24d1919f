//! Statements of every length that applications send.

/// What `sysbench oltp_point_select` sends.
pub const POINT_SELECT: &str = "SELECT c FROM sbtest1 WHERE id=50123";

/// What an ORM makes of "this album's newest photos".
pub const ORM_SELECT: &str = "SELECT `photos`.`id`, `photos`.`album_id`, `photos`.`title`, \
    `photos`.`taken_at`, `photos`.`width`, `photos`.`height`, `photos`.`created_at` FROM `photos` \
    WHERE `photos`.`album_id` = 8812 AND `photos`.`deleted_at` IS NULL AND `photos`.`state` IN \
    ('ready', 'shared') ORDER BY `photos`.`taken_at` DESC, `photos`.`id` DESC LIMIT 50 OFFSET 0";

/// Four joins.
pub const JOINS: &str = "SELECT `albums`.`id` AS t0_r0, `albums`.`title` AS t0_r1, \
    `albums`.`family_id` AS t0_r2, `photos`.`id` AS t1_r0, `photos`.`title` AS t1_r1, \
    `photos`.`taken_at` AS t1_r2, `people`.`id` AS t2_r0, `people`.`name` AS t2_r1, \
    `comments`.`id` AS t3_r0, `comments`.`body` AS t3_r1, COUNT(DISTINCT `likes`.`id`) AS likes \
    FROM `albums` INNER JOIN `photos` ON `photos`.`album_id` = `albums`.`id` AND \
    `photos`.`deleted_at` IS NULL LEFT OUTER JOIN `people` ON `people`.`id` = \
    `photos`.`person_id` LEFT OUTER JOIN `comments` ON `comments`.`photo_id` = `photos`.`id` AND \
    `comments`.`hidden` = FALSE LEFT OUTER JOIN `likes` ON `likes`.`photo_id` = `photos`.`id` \
    WHERE `albums`.`family_id` = 17 AND (`photos`.`taken_at` BETWEEN '2026-01-01 00:00:00' AND \
    '2026-12-31 23:59:59' OR `photos`.`title` LIKE '%summer%') GROUP BY `albums`.`id`, \
    `photos`.`id`, `people`.`id`, `comments`.`id` ORDER BY `photos`.`taken_at` DESC LIMIT 100";

/// An INSERT of many rows, of about `len` bytes.
pub fn insert(len: usize) -> String {
    let mut sql = String::from("INSERT INTO `photos` (`album_id`, `title`, `note`) VALUES ");
    let mut number = 0;
    while sql.len() < len {
        if number > 0 {
            sql.push(',');
        }
        number += 1;
        sql.push_str(&format!(
            "({number}, 'IMG_{number}.jpg', 'On the beach, it''s {number} degrees and nobody minds')"
        ));
    }
    sql
}

/// All of them with their names.
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("point select", POINT_SELECT.into()),
        ("ORM select", ORM_SELECT.into()),
        ("4 joins", JOINS.into()),
        ("10 KB insert", insert(10_000)),
        ("1 MB insert", insert(1_000_000)),
    ]
}
